"""Locks on files (flock): between programs, and between whoever opens the file anew."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def attempt(descriptor: int) -> bool:
    """Take the lock, if nobody else has it; it is held until ``descriptor`` is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def patient(descriptor: int) -> None:
    """Take the lock when whoever has it lets go, however long that takes."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold ``path``, a directory or a file (made if it is not there, 0600).

    Waits as long as it takes: for what takes others only moments. Raises `OSError`.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        patient(descriptor)
        yield
    finally:
        os.close(descriptor)
