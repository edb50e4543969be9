"""A file with a filesystem inside, mounted on a directory: a disk of a size of its own.

The file is sparse: it takes space of the machine's disk as it is written to,
and gives it back as files in it are deleted. What it is stands in a record
beside it, written last; without a record, a file that is there was never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.answers.values import show_size
from onestack.errors import OnestackError
from onestack.host import devices  # noqa: F401 - registers the undo of a loop device
from onestack.host.change import Change
from onestack.host.command import CommandFailed, run
from onestack.host.files import sync_directory, write_file
from onestack.host.ledger import Ledger
from onestack.host.mounts import is_mounted
from onestack.storage import loop

LEFT_FREE = 1 << 30
"""What must stay free on the disk that holds the file, bytes."""

SMALLEST = 512 << 20
"""Below this XFS refuses, or leaves next to nothing; bytes."""

OPTIONS = "noatime,nodev,nosuid,noexec"

_MAKE: dict[str, tuple[str, ...]] = {
    # -K: the file is empty already. Without the reverse map, which only serves repairs.
    "xfs": ("mkfs.xfs", "-q", "-K", "-m", "rmapbt=0"),
    # Extended attributes of any length, as on XFS; nothing set aside for root.
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0", "-I", "512", "-O", "ea_inode", "-E", "nodiscard"),
}
KINDS = tuple(_MAKE)


@dataclass(frozen=True)
class Record:
    """``size`` of the file, bytes; ``kind`` of its filesystem."""

    size: int
    kind: str


@dataclass(frozen=True)
class LoopFile:
    """``title`` is what people call it: "the object store's file"."""

    image: Path
    directory: Path
    """Where it is mounted."""
    title: str

    @property
    def record(self) -> Path:
        return self.image.with_suffix(".json")

    def load(self) -> Record | None:
        """``None`` while there is none. Raises `OnestackError` for a damaged record."""
        try:
            return Record(**json.loads(self.record.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as problem:
            raise OnestackError(
                f"the record of {self.title}, {self.record}, cannot be read",
                str(problem),
                'write {"size": BYTES, "kind": "xfs" or "ext4"} into it, '
                "then run the same command again",
            ) from problem

    def ensure(self, size: int, kind: str, ledger: Ledger, key: str) -> Iterator[Change]:
        """The file, of ``size`` bytes or more; it grows and never shrinks. Not mounted yet.

        ``key`` is the answer that says the size. Raises `OnestackError` when the
        disk cannot hold it, or when it has another filesystem already.
        """
        known = self.load()
        if known is None:
            self._check(size, kind, size, key)
            yield Change(
                f"make {self.title} of {show_size(size)} ({kind})",
                lambda: self._make(size, kind, ledger),
            )
            return
        if not self.image.exists():
            raise OnestackError(
                f"{self.title} is gone: {self.image}",
                "something else than onestack removed or moved it, and all that was in it",
                f"put it back; or remove {self.record} to begin with an empty one",
            )
        if known.kind != kind:
            raise OnestackError(
                f"{self.title} has the filesystem {known.kind} and cannot become {kind}",
                "what is in it would be lost",
                f"leave the answer at {known.kind}",
            )
        if known.size < size:
            self._check(size, kind, size - self.image.stat().st_size, key)
            yield Change(
                f"grow {self.title} from {show_size(known.size)} to {show_size(size)}",
                lambda: self._grow(size, kind),
            )

    def attach(self) -> list[str]:
        """Mount it, if it is not yet; says what was done."""
        known = self.load()
        if known is None:
            raise OnestackError(
                f"{self.title} is not there", f"{self.record} is missing", "run onestack up"
            )
        with self._locked():
            if is_mounted(self.directory):
                return []
            self.directory.mkdir(parents=True, exist_ok=True)
            device = loop.attach(self.image)
            self._mount(known.kind, device, self.directory)
        return [f"mounted {self.image} ({device}) on {self.directory}"]

    def detach(self) -> bool:
        """Unmount it and free its loop device. False while something still uses it."""
        with self._locked():
            if is_mounted(self.directory):
                result = run(["umount", self.directory], check=False, finish=True)
                if not result.ok:
                    if "busy" in result.err:
                        return False
                    raise CommandFailed(result, f"{self.directory} cannot be unmounted")
            loop.detach(self.image)
        return True

    def remove(self, ledger: Ledger) -> Iterator[Change]:
        """No file, and nothing of what is in it. Raises `OnestackError` while it is in use."""
        if self.image.exists() or self.record.exists():
            yield Change(f"remove {self.title} {self.image}", lambda: self._remove(ledger))

    def _remove(self, ledger: Ledger) -> None:
        free = self.detach()
        if device := loop.device_of(self.image) if free else self.directory:
            raise OnestackError(
                f"{self.title} is still in use ({device})",
                "a process has one of its files open, or it is mounted elsewhere",
                "run onestack down, then the same command again",
            )
        self.image.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        ledger.forget("mount", target=str(self.directory))
        ledger.forget("loop", file=str(self.image))

    def _make(self, size: int, kind: str, ledger: Ledger) -> None:
        # Undone from the last to the first.
        ledger.record("loop", file=str(self.image))
        ledger.record("mount", target=str(self.directory))
        self.image.parent.mkdir(parents=True, exist_ok=True)
        work = self.image.with_name(f".{self.image.name}.part")
        work.unlink(missing_ok=True)
        try:
            descriptor = os.open(work, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.ftruncate(descriptor, size)
                run([*_MAKE[kind], work], timeout=120)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(work, self.image)
        except BaseException:
            work.unlink(missing_ok=True)
            raise
        sync_directory(self.image.parent)
        self._save(Record(size, kind))

    def _grow(self, size: int, kind: str) -> None:
        if self.image.stat().st_size < size:
            os.truncate(self.image, size)
        # Each sees by itself whether anything is left to do.
        if kind == "xfs":
            with self._opened(kind) as (place, device):
                loop.resized(device)
                run(["xfs_growfs", "-d", place], timeout=120, finish=True)
        elif loop.device_of(self.image):
            with self._opened(kind) as (_, device):
                loop.resized(device)
                self._resize_in_use(device)
        else:
            # Without a mount it wants to have been checked.
            checked = run(["e2fsck", "-f", "-p", self.image], timeout=600, check=False)
            if checked.code > 1:
                raise CommandFailed(checked, f"{self.title} is damaged")
            run(["resize2fs", self.image], timeout=120, finish=True)
        self._save(Record(size, kind))

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
    def _opened(self, kind: str) -> Iterator[tuple[Path, Path]]:
        """Where it is seen by this process, and its loop device, for a while.

        The supervisor may have it mounted where we do not see it: a second mount
        of one device is the same filesystem.
        """
        with self._locked():
            attached = loop.device_of(self.image)
            device = loop.attach(self.image)
            place = Path(tempfile.mkdtemp(prefix=".mount-", dir=self.image.parent))
            try:
                self._mount(kind, device, place)
                try:
                    yield place, device
                finally:
                    run(["umount", place], finish=True)
            finally:
                if not attached:
                    loop.detach(self.image)
                place.rmdir()

    @staticmethod
    def _mount(kind: str, device: Path, place: Path) -> None:
        # nouuid: a copy of the cloud (snapshot, backup) may be mounted beside it.
        options = f"{OPTIONS},discard" + (",nouuid" if kind == "xfs" else "")
        run(["mount", "-t", kind, "-o", options, device, place], finish=True)

    def _save(self, record: Record) -> None:
        write_file(self.record, json.dumps(vars(record)) + "\n", mode=0o644)

    def _check(self, size: int, kind: str, needed: int, key: str) -> None:
        program = _MAKE[kind][0]
        if not loop.available() or not shutil.which(program, path=f"{os.environ['PATH']}:/sbin"):
            raise OnestackError(
                f"this machine cannot hold {self.title}",
                f"it has no loop device (/dev/loop-control), or no {program}",
                "load the module loop (modprobe loop), or give the container /dev/loop-control",
            )
        here = next(p for p in (self.image, *self.image.parents) if p.exists())
        state = os.statvfs(here)
        free = state.f_bavail * state.f_frsize
        # Though the space is not taken now: a promise that cannot be kept is none.
        if needed > 0 and free < needed + LEFT_FREE:
            raise OnestackError(
                f"the disk of {here} is too full for {self.title} of {show_size(size)}",
                f"{_gib(needed)} GiB more are needed, {_gib(free)} GiB are free, and "
                f"{_gib(LEFT_FREE)} GiB must stay so",
                f"free some space, or choose a smaller {key}",
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time attaches or detaches."""
        if not self.image.parent.is_dir():
            yield
            return
        path = self.image.with_suffix(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def filesystem(device: Path) -> str:
    """``xfs``, ``ext4`` (or its elders), or nothing: what the first blocks of ``device`` say."""
    with device.open("rb") as file:
        head = file.read(2048)
    if head[:4] == b"XFSB":
        return "xfs"
    if len(head) >= 1082 and struct.unpack_from("<H", head, 1080) == (0xEF53,):
        return "ext4"
    return ""


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f}"
