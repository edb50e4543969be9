"""The noVNC pages, from Debian's package without its dependencies.

The package depends on a second websocket proxy and numpy (200 MB), of which
nova's own proxy needs nothing: only the pages are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onestack.host.debs import unpack
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context


def novnc_directory(ctx: Context) -> Path:
    return CACHE / "novnc" / "usr" / "share" / "novnc"


def ensure_novnc(ctx: Context) -> Iterator[Change]:
    if not novnc_directory(ctx).is_dir():
        yield Change("fetch the noVNC pages", lambda: unpack(("novnc",), CACHE / "novnc"))
