"""Mounted filesystems."""

from __future__ import annotations

import re
from pathlib import Path

from onestack.host.command import CommandFailed, run

_MOUNTS = Path("/proc/self/mounts")


def source_of(place: Path, table: Path = _MOUNTS) -> str | None:
    """The device mounted on ``place``, or ``None``."""
    found = None
    for line in table.read_text().splitlines():
        source, target = line.split()[:2]
        if _plain(target) == str(place):
            found = _plain(source)  # the last one is on top
    return found


def mount(device: Path, place: Path, kind: str, options: str) -> None:
    """Raises `CommandFailed`."""
    run(["mount", "-t", kind, "-o", options, str(device), str(place)], timeout=60)


def unmount(place: Path) -> bool:
    """False when a process still uses it; raises `CommandFailed` for anything else."""
    result = run(["umount", str(place)], timeout=60, check=False)
    if result.ok:
        return True
    if "busy" in result.err:
        return False
    raise CommandFailed(result, f"{place} cannot be unmounted")


def _plain(text: str) -> str:
    """Undo the kernel's ``\\040`` for a space."""
    return re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), text)
