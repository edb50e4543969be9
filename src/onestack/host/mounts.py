"""Letting go of what is mounted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.kernel.mounts import within
from onestack.model.change import Undo


def unmount(target: Path) -> None:
    """All mounts on and below ``target``, last made first. Raises `CommandFailed` when busy."""
    for place in [mount.target for mount in reversed(within(target))]:
        if not run(["umount", str(place)], timeout=60, check=False, finish=True).ok:
            # Busy: let go of it now, for good once its last user has ended.
            run(["umount", "--lazy", str(place)], timeout=60, finish=True)


def undo_mount(data: dict[str, Any]) -> None:
    unmount(Path(data["target"]))


UNDO: Mapping[str, Undo] = {"mount": undo_mount}
