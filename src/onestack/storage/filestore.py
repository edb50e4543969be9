"""Stores in a file with a filesystem inside: a disk of a component's own, a pool of volumes.

Without a record there is no store, whatever else lies there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from onestack.answers.values import show_size
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.errors import OnestackError
from onestack.storage import loop, loopfile, reflink
from onestack.storage.loopfile import LoopFile
from onestack.storage.store import DIRECTORY, StoreFacts, StoreRecord, load_record, save_record


@dataclass(frozen=True)
class FileStore:
    """An `onestack.storage.store.Store`. ``title`` is what people call it."""

    image: Path
    directory: Path
    """Where it is mounted."""
    record: Path
    title: str
    size_key: str = ""
    """The answer that says its size."""
    sparse_key: str = ""
    """The answer that says whether it takes all of its disk space at once."""

    IN_USE: ClassVar[tuple[str, str]] = (
        "a process has one of its files open, or it is mounted elsewhere",
        "run onestack down, then the same command again",
    )
    """Why it cannot be removed, and what helps."""

    # What a kind of it may have another way

    def length(self, size: int) -> int:
        """The bytes of the file that offers ``size`` bytes."""
        return size

    def note(self, ledger: Ledger) -> None:
        """Before it is made: what undoes it, which is done from the last entry to the first."""
        ledger.record("loop", file=str(self.image))
        ledger.record("mount", target=str(self.directory))

    def forget(self, ledger: Ledger) -> None:
        ledger.forget("mount", target=str(self.directory))
        ledger.forget("loop", file=str(self.image))

    def make_file(self, wanted: StoreRecord) -> StoreRecord:
        """Returns what was made. A file without a record was never used."""
        self.file(wanted).make(self.length(wanted.size), wanted.kind)
        return wanted

    def remove_files(self) -> None:
        self.image.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def check_directory(self, wanted: StoreRecord, known: StoreRecord | None) -> None:
        """Whether a plain directory may take the file's place. Raises `OnestackError`."""
        raise OnestackError(
            f"this machine cannot hold {self.title}",
            f"it has no loop device (/dev/loop-control), no mkfs.{wanted.kind}, or a kernel "
            f"without {wanted.kind}",
            "load the module loop (modprobe loop), or give the container /dev/loop-control",
        )

    # `onestack.storage.store.Store`

    def check(self, wanted: StoreRecord) -> None:
        if wanted.size < loopfile.SMALLEST:
            raise OnestackError(
                f"{self.title} of {show_size(wanted.size)} is too small",
                "the filesystem wants up to 300 MiB for itself",
                f"choose {self.size_key}=1G or more",
            )
        known = self.load()
        if not (known.in_file if known else loopfile.possible(wanted.kind)):
            self.check_directory(wanted, known)
            return
        there = self.image.stat().st_size if self.image.exists() else 0
        needed = self.length(wanted.size) - there
        loopfile.check_disk(self.image, self.title, wanted.size, needed, self.size_key)

    def ensure(self, wanted: StoreRecord, ledger: Ledger) -> Iterator[Change]:
        known = self.load()
        if known is None:
            self.check(wanted)
            size = f"{show_size(wanted.size)} ({wanted.kind})"
            yield Change(
                f"make {self.title} of {size} in {self.image.parent}",
                lambda: self._make(wanted, ledger),
            )
            return
        if known.in_file:
            self.file(known).check_there(self.record)
            self._check_kind(known, wanted)
        if known.user != wanted.user:
            yield Change(f"give {self.title} to {wanted.user}", lambda: self._give(wanted.user))
        if known.server != wanted.server:
            told = f"let {wanted.server} serve" if wanted.server else "let nobody serve"
            yield Change(f"{told} files of {self.title}", lambda: self._serve(wanted.server))
        if known.in_file and known.sparse and not wanted.sparse:
            cure = f"free some space, or leave {self.sparse_key}=y"
            missing = self.file(known).missing
            loopfile.check_disk(self.image, self.title, known.size, missing, self.size_key, cure)
            yield Change(f"take {self.title}'s disk space", self._fill)
        if known.size < wanted.size:
            self.check(wanted)
            yield Change(
                f"grow {self.title} from {show_size(known.size)} to {show_size(wanted.size)}",
                lambda: self.grow(wanted.size),
            )

    def attach(self) -> list[str]:
        """Only what is missing is done: after a boot all of it, else nothing."""
        known = self.known()
        return self.file(known).mount(known.kind) if known.in_file else []

    def detach(self) -> list[str]:
        free = self.file().detach()
        return [] if free else [f"{self.directory} is in use and stays mounted"]

    def grow(self, size: int) -> None:
        """Raises `OnestackError` for a size below the present one, or when the disk has no room."""
        known = self.known()
        if size < known.size:
            raise OnestackError(
                f"{self.title} cannot shrink to {show_size(size)}",
                f"it has {show_size(known.size)}, and only grows",
                f"name a size above {show_size(known.size)}",
            )
        self.check(dataclasses.replace(known, size=size))
        if known.in_file:
            self.file(known).enlarge(self.length(size), known.kind)
        self.save(dataclasses.replace(self.known(), size=size))

    def remove(self, ledger: Ledger) -> Iterator[Change]:
        if self.image.exists() or self.record.exists():
            yield Change(f"remove {self.title} {self.image}", lambda: self._remove(ledger))

    def facts(self) -> StoreFacts | None:
        known = self.load()
        if known is None:
            return None
        with self.opened(known) as (place, device):
            state = os.statvfs(place)
            stored = (state.f_blocks - state.f_bfree) * state.f_frsize if device else 0
        return self.facts_of(known, stored, device)

    def snapshot(self, target: Path) -> None:
        """The file and its record, or the files; whole or not there.

        It is as a power cut would leave it: what was written before is in it.
        """
        known = self.known()
        if target.exists():
            raise OnestackError(
                f"{self.title} cannot be copied to {target}", "it is there already", "name another"
            )
        work = target.with_name(f".{target.name}.part")
        remove_tree(work)
        work.mkdir(mode=0o700)
        try:
            self._clone(known, work)
            save_record(work / self.record.name, known)
            os.rename(work, target)
        except OSError as problem:
            remove_tree(work)
            if problem.errno not in reflink.UNABLE:
                raise
            raise OnestackError(
                f"{self.title} cannot be copied in a moment",
                f"the filesystem of {self.image.parent} cannot share blocks between files, or "
                f"{target.parent} is on another one",
                "put the cloud's root (--root) on XFS or btrfs, and the copy beside it",
            ) from problem

    # Its parts

    def load(self) -> StoreRecord | None:
        """``None`` while there is no such store. Raises `OnestackError` for a damaged record."""
        return load_record(self.record, self.title)

    def known(self) -> StoreRecord:
        """As `load`, and `OnestackError` when there is none."""
        if record := self.load():
            return record
        raise OnestackError(
            f"{self.title} is not there", f"{self.record} is missing", "run onestack up"
        )

    def save(self, record: StoreRecord) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        save_record(self.record, record)

    def file(self, record: StoreRecord | None = None) -> LoopFile:
        sparse = record.sparse if record else True
        return LoopFile(self.image, self.directory, self.title, sparse)

    @contextlib.contextmanager
    def opened(self, known: StoreRecord) -> Iterator[tuple[Path, Path | None]]:
        """Where its files are seen by this process, and its loop device, for a while."""
        if not known.in_file:
            yield self.directory, None
            return
        with self.file(known).opened(known.kind) as seen:
            yield seen

    def facts_of(self, known: StoreRecord, stored: int, device: Path | None) -> StoreFacts:
        return StoreFacts(
            kind="file" if known.in_file else DIRECTORY,
            size=known.size,
            stored=stored,
            place=str(self.image if known.in_file else self.directory),
            device=str(device or ""),
        )

    def _make(self, wanted: StoreRecord, ledger: Ledger) -> None:
        if not loopfile.possible(wanted.kind):
            self.save(dataclasses.replace(wanted, kind=DIRECTORY, sparse=False))
            return
        self.note(ledger)
        self.image.parent.mkdir(parents=True, exist_ok=True)
        self.save(self.make_file(wanted))

    def _give(self, user: str) -> None:
        self.save(dataclasses.replace(self.known(), user=user))

    def _serve(self, user: str) -> None:
        self.save(dataclasses.replace(self.known(), server=user))

    def _fill(self) -> None:
        self.file(dataclasses.replace(self.known(), sparse=False)).fill()
        self.save(dataclasses.replace(self.known(), sparse=False))

    def _remove(self, ledger: Ledger) -> None:
        free = self.file().detach()
        if device := loop.device_of(self.image) if free else self.directory:
            raise OnestackError(f"{self.title} is still in use ({device})", *self.IN_USE)
        self.remove_files()
        self.forget(ledger)

    def _check_kind(self, known: StoreRecord, wanted: StoreRecord) -> None:
        if known.kind != wanted.kind:
            raise OnestackError(
                f"{self.title} has the filesystem {known.kind} and cannot become {wanted.kind}",
                "what is in it would be lost",
                f"leave the answer at {known.kind}",
            )

    def _clone(self, known: StoreRecord, work: Path) -> None:
        if not known.in_file:
            for path in sorted(self.directory.iterdir()):
                if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                    reflink.clone(path, work / path.name)
            return
        if loop.device_of(self.image):
            with self.opened(known) as (place, _):
                run(["sync", "--file-system", place], timeout=120)
                reflink.clone(self.image, work / self.image.name, mode=0o600)
        else:
            reflink.clone(self.image, work / self.image.name, mode=0o600)
