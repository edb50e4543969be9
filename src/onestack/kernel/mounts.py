"""The kernel's table of mounts."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mount:
    """One line of the kernel's table of mounts."""

    target: Path
    kind: str
    source: str
    options: tuple[str, ...]


def table(text: str | None = None) -> list[Mount]:
    """All mounts, in the order they were made (``text``: as /proc/self/mountinfo)."""
    if text is None:
        text = Path("/proc/self/mountinfo").read_text()
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        options = fields[5].split(",") + (rest[2].split(",") if len(rest) > 2 else [])
        mounts.append(
            Mount(Path(_plain(fields[4])), rest[0], _plain(rest[1]), tuple(dict.fromkeys(options)))
        )
    return mounts


def _plain(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), text)


def holding(path: Path, mounts: list[Mount] | None = None) -> Mount | None:
    """The mount that ``path`` (or its nearest parent that exists) is on."""
    path = Path(os.path.realpath(path))
    best: Mount | None = None
    for mount in table() if mounts is None else mounts:
        inside = path == mount.target or mount.target in path.parents
        # Of two on one place the later one covers the earlier.
        if inside and (best is None or len(mount.target.parts) >= len(best.target.parts)):
            best = mount
    return best


def is_mounted(target: Path) -> bool:
    return any(mount.target == target for mount in table())


def within(path: Path) -> list[Mount]:
    """The mounts on ``path`` and below, in the order they were made."""
    path = Path(os.path.realpath(path))
    return [m for m in table() if m.target == path or path in m.target.parents]
