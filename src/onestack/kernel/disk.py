"""How much room a disk has, and below what it counts as full."""

from __future__ import annotations

import os
from pathlib import Path

FULL = 64 << 20
"""Bytes. A daemon needs some at each start, MariaDB 12 MiB for its temporary tables, and the
message bus takes nothing while there are fewer: its limit is this one."""


def room(place: Path) -> int:
    """Bytes that everybody can still write where ``place`` is."""
    info = os.statvfs(place)
    return info.f_bavail * info.f_frsize
