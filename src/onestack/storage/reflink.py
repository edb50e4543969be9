"""Files that share blocks (reflinks): copies in milliseconds, whatever their size."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path

from onestack.kernel.files import sync_directory

FICLONE = 0x40049409
"""``ioctl_ficlone(2)``: make the open file share all blocks of another one."""

UNABLE = (errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS)
"""Errors of a filesystem that cannot share blocks, or not with the other one."""


def clone(source: Path, target: Path, size: int | None = None, mode: int = 0o660) -> None:
    """Make ``target`` a copy of ``source`` that shares its blocks, whole or not at all.

    An existing ``target`` is replaced in one step. The copy is a moment's
    image even while ``source`` is written to. ``size`` (bytes) is what the
    copy is enlarged to. Raises `OSError`, with ``EOPNOTSUPP`` or the like
    where the filesystem cannot share blocks.
    """
    work = target.with_name(f".{target.name}.part")
    work.unlink(missing_ok=True)
    try:
        descriptor = os.open(work, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with source.open("rb") as origin:
                fcntl.ioctl(descriptor, FICLONE, origin.fileno())
            if size is not None:
                os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(work, target)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def supported(directory: Path) -> bool:
    """Whether files in ``directory`` can share blocks; tried with two small files."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".reflink-") as one:
        one.write(b"\0" * 65536)
        one.flush()
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".reflink-") as two:
            try:
                fcntl.ioctl(two.fileno(), FICLONE, one.fileno())
            except OSError as problem:
                if problem.errno in UNABLE:
                    return False
                raise
    return True
