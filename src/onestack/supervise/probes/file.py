"""``file``: it is there."""

from __future__ import annotations

from pathlib import Path

from onestack.model.process import FileProbe
from onestack.supervise.probes.base import Wrong


def attempt(probe: FileProbe) -> None:
    if not Path(probe.path).exists():
        raise Wrong(f"{probe.path} is not there yet")
