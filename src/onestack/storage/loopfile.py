"""A file with a filesystem inside, mounted on a directory: a disk of a size of its own.

A sparse one takes space of the machine's disk as it is written to, and gives it
back as files in it are deleted; another takes all of it when it is made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.answers.values import show_size
from onestack.host.command import CommandFailed, run
from onestack.host.facts import module_available
from onestack.host.mounts import unmount
from onestack.kernel import locks
from onestack.kernel.files import sync_directory
from onestack.kernel.mounts import is_mounted
from onestack.model.errors import NotInstalled, OnestackError
from onestack.storage import loop

LEFT_FREE = 1 << 30
"""What must stay free on the disk that holds the file, bytes."""

SMALLEST = 512 << 20
"""Below this XFS refuses, or leaves next to nothing; bytes."""

MOUNT = ".mount-"
"""How the names of directories begin on which the file is mounted for a while."""

OPTIONS = "noatime,nodev,nosuid,noexec"

_MAKE: dict[str, tuple[str, ...]] = {
    # -K: discarding would give back the space that was just taken. Without the reverse
    # map: it costs 1.6 % of the room and only serves repairs.
    "xfs": ("mkfs.xfs", "-q", "-K", "-m", "reflink=1,rmapbt=0"),
    # Extended attributes of any length, as on XFS; nothing set aside for root.
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0", "-I", "512", "-O", "ea_inode", "-E", "nodiscard"),
}
KINDS = tuple(_MAKE)


@dataclass(frozen=True)
class LoopFile:
    """``title`` is what people call it: "the object store's file"."""

    image: Path
    directory: Path
    """Where it is mounted."""
    title: str
    sparse: bool = True
    """Whether it takes disk space only as it is written to."""

    def make(self, size: int, kind: str = "") -> None:
        """A new one of ``size`` bytes, under another name until it is whole.

        With a filesystem, or, without ``kind``, empty.
        """
        self.image.parent.mkdir(parents=True, exist_ok=True)
        work = self.image.with_name(f".{self.image.name}.part")
        work.unlink(missing_ok=True)
        try:
            descriptor = os.open(work, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                self._lengthen(work, size)
                if kind:
                    run([*_MAKE[kind], work], timeout=120)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(work, self.image)
        except BaseException:
            work.unlink(missing_ok=True)
            raise
        sync_directory(self.image.parent)

    def enlarge(self, size: int, kind: str) -> None:
        """File and filesystem, in use or not; each sees by itself whether anything is to do."""
        self.lengthen(size)
        if kind == "xfs":
            with self.opened(kind) as (place, device):
                loop.resized(device)
                run(["xfs_growfs", "-d", place], timeout=120, finish=True)
        elif loop.device_of(self.image):
            with self.opened(kind) as (_, device):
                loop.resized(device)
                self._resize_in_use(device)
        else:
            # Without a mount it wants to have been checked.
            checked = run(["e2fsck", "-f", "-p", self.image], timeout=600, check=False)
            if checked.code > 1:
                raise CommandFailed(checked, f"{self.title} is damaged")
            run(["resize2fs", self.image], timeout=120, finish=True)

    def lengthen(self, size: int) -> None:
        """The file alone, to ``size`` bytes; not what is in it."""
        if self.image.stat().st_size < size:
            self._lengthen(self.image, size)

    def fill(self) -> None:
        """Take the disk space that it has not taken yet."""
        _take_space(self.image, 0, self.image.stat().st_size, self.title)

    @property
    def missing(self) -> int:
        """The bytes that have no disk space yet."""
        info = self.image.stat()
        return max(0, info.st_size - info.st_blocks * 512)

    def mount(self, kind: str) -> list[str]:
        """Mount it, if it is not yet; says what was done."""
        with self.locked():
            if is_mounted(self.directory):
                return []
            self.directory.mkdir(parents=True, exist_ok=True)
            device = loop.attach(self.image)
            self._mount(kind, device, self.directory)
        return [f"mounted {self.image} ({device}) on {self.directory}"]

    def detach(self) -> bool:
        """Unmount it and free its loop device. False while something still uses it."""
        with self.locked():
            self._clear()
            if is_mounted(self.directory):
                result = run(["umount", self.directory], check=False, finish=True)
                if not result.ok:
                    if "busy" in result.err:
                        return False
                    raise CommandFailed(result, f"{self.directory} cannot be unmounted")
            loop.detach(self.image)
        return True

    @contextlib.contextmanager
    def opened(self, kind: str) -> Iterator[tuple[Path, Path]]:
        """Where it is seen by this process, and its loop device, for a while.

        The supervisor may have it mounted where we do not see it: a second mount
        of one device is the same filesystem.
        """
        if is_mounted(self.directory):
            yield self.directory, loop.attach(self.image)
            return
        with self.locked():
            self._clear()
            attached = loop.device_of(self.image)
            place = Path(tempfile.mkdtemp(prefix=MOUNT, dir=self.image.parent))
            try:
                device = loop.attach(self.image)
                self._mount(kind, device, place)
                try:
                    yield place, device
                finally:
                    run(["umount", place], finish=True)
            finally:
                if not attached:
                    loop.detach(self.image)
                place.rmdir()

    def _clear(self) -> None:
        """Mounts of `opened` that a killed run has left; who holds the lock uses none."""
        for left in self.image.parent.glob(f"{MOUNT}*"):
            unmount(left)
            left.rmdir()

    def check_there(self, record: Path) -> None:
        """Raises `OnestackError` when the file that ``record`` tells of is gone."""
        if not self.image.exists():
            raise OnestackError(
                f"{self.title} is gone: {self.image}",
                "something else than onestack removed or moved it, and all that was in it",
                f"put it back; or remove {record} to begin with an empty one",
            )

    def _mount(self, kind: str, device: Path, place: Path) -> None:
        options = OPTIONS
        if kind == "xfs":
            # A copy of the cloud (snapshot, backup) may be mounted beside it.
            options += ",nouuid"
        if self.sparse:
            # What is deleted goes back to the disk.
            options += ",discard"
        run(["mount", "-t", kind, "-o", options, device, place], finish=True)

    def _lengthen(self, file: Path, size: int) -> None:
        if not self.sparse:
            start = file.stat().st_size
            _take_space(file, start, size - start, self.title)
        os.truncate(file, size)

    def _resize_in_use(self, device: Path) -> None:
        result = run(["resize2fs", device], timeout=120, check=False, finish=True)
        if "Permission denied" in result.err:
            raise OnestackError(
                f"{self.title} cannot grow while it is in use",
                "this machine lets nobody resize a mounted ext4 (a container without "
                "CAP_SYS_RESOURCE)",
                "run onestack down, then onestack up",
            )
        if not result.ok:
            raise CommandFailed(result, f"{self.title} cannot grow")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time attaches or detaches."""
        if not self.image.parent.is_dir():
            yield
            return
        with locks.held(self.image.with_suffix(".lock")):
            yield


def possible(kind: str) -> bool:
    """Whether this machine can make and mount a file with the filesystem ``kind``.

    Raises `NotInstalled` where nothing but the program that makes one is missing.
    """
    program = _MAKE[kind][0]
    known = Path("/proc/filesystems").read_text().split()
    if not (loop.available() and (kind in known or module_available(kind))):
        return False
    if not shutil.which(program, path=f"{os.environ['PATH']}:/sbin"):
        raise NotInstalled(
            f"no {kind} can be made", f"{program} is not there", "install its package: onestack up"
        )
    return True


def check_disk(place: Path, title: str, size: int, needed: int, key: str, cure: str = "") -> None:
    """Raises `OnestackError` when the disk lacks ``needed`` bytes more for ``title`` of ``size``.

    ``key`` is the answer that says the size; ``cure`` is what helps if not a smaller one.
    Also asked when the space is not taken now: a promise that cannot be kept is none.
    """
    here = nearest(place)
    state = os.statvfs(here)
    free = state.f_bavail * state.f_frsize
    lacking = needed + LEFT_FREE - free
    if needed > 0 and lacking > 0:
        fits = max(0, size - lacking >> 30)
        smaller = f"; what fits now is {key}={fits}G" if fits else f", or choose a smaller {key}"
        raise OnestackError(
            f"the disk of {here} is too full for {title} of {show_size(size)}",
            f"{_gib(needed)} GiB more are needed, {_gib(free)} GiB are free, and "
            f"{_gib(LEFT_FREE)} GiB must stay so",
            cure or f"free some space{smaller}",
        )


def nearest(place: Path) -> Path:
    """``place``, or what of the way to it is there."""
    return next(path for path in (place, *place.parents) if path.exists())


def filesystem(device: Path) -> str:
    """``xfs``, ``ext4`` (or its elders), or nothing: what the first blocks of ``device`` say."""
    with device.open("rb") as file:
        head = file.read(2048)
    if head[:4] == b"XFSB":
        return "xfs"
    if len(head) >= 1082 and struct.unpack_from("<H", head, 1080) == (0xEF53,):
        return "ext4"
    return ""


def _take_space(file: Path, start: int, length: int, title: str) -> None:
    words: list[str | Path] = ["fallocate", "--offset", str(start), "--length", str(length), file]
    result = run(words, timeout=600, check=False)
    # Not every filesystem can set space aside; that there is enough now was checked.
    if not result.ok and "not supported" not in result.err.lower():
        raise OnestackError(
            f"the disk has no room for {_gib(length)} GiB of {title}",
            result.err.strip(),
            "free some space, or choose a smaller size",
        )


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f}"
