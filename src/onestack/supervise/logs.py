"""Log files of processes: opened for a child, cut when large, their last lines."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

LARGE = 20 * 1024 * 1024
"""Bytes after which a log is copied to ``NAME.log.1`` and emptied."""


def open_log(path: Path, uid: int, gid: int) -> int:
    """A descriptor that appends. The file (0640) belongs to the process's user."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o640)
    os.fchown(descriptor, uid, gid)
    return descriptor


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_lines(path: Path, number: int, start: int = 0) -> list[str]:
    """The last lines that are not empty, none from before byte ``start``.

    A log that is now shorter than ``start`` was cut meanwhile: all of it counts.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            begin = max(start if start <= end else 0, end - 400 * number - 4000)
            file.seek(begin)
            text = file.read(end - begin).decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-number:]


def rotate(directory: Path, large: int = LARGE) -> list[str]:
    """Copy and empty every log above ``large`` bytes. Writers keep their descriptors."""
    rotated = []
    for path in directory.glob("*.log"):
        if size(path) <= large:
            continue
        with contextlib.suppress(OSError):
            old = path.with_name(path.name + ".1")
            new = path.with_name(path.name + ".1.new")
            new.unlink(missing_ok=True)
            shutil.copy2(path, new)
            info = path.stat()
            os.chown(new, info.st_uid, info.st_gid)
            new.rename(old)
            os.truncate(path, 0)
            rotated.append(path.name)
    return rotated
