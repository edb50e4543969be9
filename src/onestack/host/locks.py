"""Locks between programs: two clouds that come up at once share packages and releases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onestack.host.command import Aborted
from onestack.kernel.locks import attempt
from onestack.model.run import this_run

Tell = Callable[[str], None]


def silent(sentence: str) -> None:
    """Tell nobody."""


def locked(path: Path) -> bool:
    """Whether somebody holds the lock ``path`` now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not attempt(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: Path, why: str, tell: Tell = silent) -> Iterator[None]:
    """Hold the lock file ``path`` (0600); the kernel frees it however we end.

    Waits as long as it takes, having told ``why`` once. Raises `Aborted`
    when the operator stops the run meanwhile.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_for(path, descriptor, lambda: tell(f"waiting: {why}"))
            if _still(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def directory_lock(path: Path) -> Iterator[None]:
    """Hold the directory ``path`` itself: no file is left of it.

    Without the directory there is nothing to be alone with. For what takes
    milliseconds: it waits as long as it takes, or until the operator stops the run
    (`Aborted`).
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        try:
            _wait_for(path, descriptor, lambda: None)
            if _still(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _wait_for(path: Path, descriptor: int, waits: Callable[[], None]) -> None:
    """Lock it; ``waits`` is called once if that takes a while."""
    told = False
    while not attempt(descriptor):
        if this_run().stop.is_set():
            raise Aborted(f"waiting for {path} was stopped")
        if not told:
            waits()
            told = True
        time.sleep(0.2)


def _still(path: Path, descriptor: int) -> bool:
    """Whether that is what was opened: somebody may have removed it (destroy) meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
