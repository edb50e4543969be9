"""Disks in memory that a test can fill, and make room on again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onestack.host.command import run
from onestack.kernel import disk

MIB = 1 << 20


@contextmanager
def small_disk(place: Path, mib: int) -> Iterator[Path]:
    """One of that size at ``place``, which is there; needs root."""
    run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", "-l", place])


def resize(place: Path, mib: int) -> None:
    run(["mount", "-o", f"remount,size={mib}m", place])


def fill(place: Path, left: int = 0) -> None:
    """Take all the room but ``left`` bytes. `make_room` gives it back."""
    with (place / "filler").open("ab") as file:
        while (more := disk.room(place) - left) > 0:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, more)
            except OSError as error:
                # Others wrote meanwhile, and have it.
                if error.errno != errno.ENOSPC:
                    raise


def make_room(place: Path) -> None:
    (place / "filler").unlink()
