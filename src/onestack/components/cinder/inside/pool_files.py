"""The pool's files: how much they may grow to, and how each is made in one step.

A name that begins with a dot is nobody's volume: what is being made, and what an interrupted
copy has left (`sweep`). All of these end in ``.part``.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from oslo_utils import units

from onestack.components.cinder.inside.refusals import NO_ROOM, Refused, failure
from onestack.kernel.files import sync_directory
from onestack.storage import reflink
from onestack.storage.allotment import allotted

MARKER = ".pool"
"""Made by `onestack.storage.pool`; absent when the pool is not mounted."""
IMPORTS = "import"
"""The folder in it for files that are no volumes yet, or no more (see `imports`)."""
_HEADER = 16 << 20
"""Of an encrypted volume, with what its filesystem rounds up to."""


class PoolFiles:
    """``directory`` is where the pool is mounted, ``record`` the file that says its size."""

    def __init__(self, directory: Path, record: Path) -> None:
        self.directory = directory
        self.record = record
        # Between counting what is given out and giving out more.
        self._counting = threading.Lock()
        # Bytes that parts may take.
        self._lent = 0

    # Room

    def size(self) -> int:
        """The pool's size, bytes. It is read each time: the pool may have grown."""
        if not (self.directory / MARKER).exists():
            raise failure(
                f"the pool is not mounted on {self.directory}; "
                "restart the volume service (onestack restart cinder), which mounts it"
            )
        try:
            return int(json.loads(self.record.read_text())["size"])
        except (OSError, ValueError, KeyError) as problem:
            raise failure(f"the pool's record cannot be read: {problem}") from problem

    def provisioned(self) -> int:
        """What volumes and snapshots may grow to, bytes; what is to be managed is one of them.

        With what is lent to parts as long as they are filled.
        """
        given = _sum(self.directory, allotted) + _sum(self.directory / IMPORTS, _size)
        return given + self._lent

    def free(self) -> int:
        """Bytes that nobody was given."""
        return self.size() - self.provisioned()

    @contextlib.contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """The right to take ``size`` bytes of the pool. Copies made within are instant.

        Raises `Refused` where it has not so many.
        """
        with self._counting:
            free = self.free()
            if size > max(0, free):
                raise Refused(NO_ROOM, wanted=gib(size), free=gib(max(0, free)))
            yield

    # Files

    def make(self, path: Path, size: int) -> None:
        """A sparse file of ``size`` bytes, in the place of what an attempt has left there."""
        path.unlink(missing_ok=True)
        with self.room_for(size):
            make_file(path, size)
        sync_directory(path.parent)

    def copy(self, source: Path, target: Path, size: int) -> None:
        """``target``, of ``size`` bytes, shares the blocks of ``source``."""
        with self.room_for(size):
            reflink.clone(source, target, size)

    def grow(self, path: Path, size: int) -> None:
        with self.room_for(size - allotted(path)):
            grow_file(path, size)

    @contextlib.contextmanager
    def part(self, name: str, share: int = 0) -> Iterator[Path]:
        """An empty file to be filled and put in another's place, or gone at the end.

        ``share`` is what it may take of the pool, bytes, beyond what its volume was given. Raises
        `Refused` where there is not so much.
        """
        path = self.directory / f".{name}.part"
        with self.room_for(share):
            self._lent += share
        try:
            path.unlink(missing_ok=True)
            make_file(path, 0)
            yield path
        finally:
            path.unlink(missing_ok=True)
            with self._counting:
                self._lent -= share

    def put(self, part: Path, path: Path, size: int) -> None:
        """``part``, brought to ``size`` bytes, takes the place of ``path`` in one step."""
        with _opened(part) as descriptor:
            _sized(descriptor, size)
        os.replace(part, path)
        sync_directory(path.parent)

    def put_new(self, part: Path, path: Path, size: int) -> None:
        """`put` for a file that was not given room before."""
        with self.room_for(size):
            self.put(part, path, size)

    def sweep(self) -> None:
        """Remove what interrupted work has left. Only while none is done."""
        for left in self.directory.glob(".*.part"):
            left.unlink(missing_ok=True)


def beside(path: Path) -> int:
    """Bytes of the pool that are taken twice while the whole of ``path`` is made anew.

    A header alone is none to speak of.
    """
    return max(0, path.stat().st_blocks * 512 - _HEADER)


def make_file(path: Path, size: int) -> None:
    """A sparse file of ``size`` bytes, with the mode that lets the access list count."""
    with _opened(path, os.O_CREAT | os.O_EXCL) as descriptor:
        _sized(descriptor, size)


def grow_file(path: Path, size: int) -> None:
    """Of ``size`` bytes at least, on the disk when it returns."""
    with _opened(path) as descriptor:
        if os.fstat(descriptor).st_size < size:
            _sized(descriptor, size)


def cut_file(path: Path, size: int) -> bool:
    """Of ``size`` bytes at most, unless what is beyond was written to. Whether it is so."""
    with _opened(path) as descriptor:
        if os.fstat(descriptor).st_size <= size:
            return True
        try:
            os.lseek(descriptor, size, os.SEEK_DATA)
        except OSError:  # nothing but a hole
            _sized(descriptor, size)
            return True
        return False


@contextlib.contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o660)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sized(descriptor: int, size: int) -> None:
    """Of ``size`` bytes, on the disk when it returns."""
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)


def gib(count: int) -> float:
    return round(count / float(units.Gi), 2)


def _sum(directory: Path, of: Callable[[Path], int]) -> int:
    """Of all files in ``directory`` whose name does not begin with a dot."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                total += of(Path(entry.path))
    return total


def _size(path: Path) -> int:
    return path.lstat().st_size
