"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def temporary(path: Path) -> Path:
    """What `write` fills before it becomes ``path``; a run that was killed may leave it."""
    return path.with_name(f".{path.name}.onestack-new")


def write(path: Path, content: str | bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace ``path`` at once: a temporary file beside it, fsync, rename.

    A reader sees the old file or the new one, which has its owner and ``mode`` before
    it is seen. Safe in directories that an unprivileged user may write: links are not
    followed. Raises `OSError`.
    """
    raw = content.encode() if isinstance(content, str) else content
    new = temporary(path)
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600)
        try:
            view = memoryview(raw)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in ``path`` last through a power cut. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
