"""A disk that a component has for itself: a sparse loop file and the record of what it is.

Without a record, a file that is there was never used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.answers.values import show_size
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.errors import OnestackError
from onestack.storage import loop, loopfile
from onestack.storage.loopfile import LoopFile


@dataclass(frozen=True)
class Record:
    """``size`` of the file, bytes; ``kind`` of its filesystem."""

    size: int
    kind: str


@dataclass(frozen=True)
class Disk(LoopFile):
    @property
    def record(self) -> Path:
        return self.image.with_suffix(".json")

    def load(self) -> Record | None:
        """``None`` while there is none. Raises `OnestackError` for a damaged record."""
        return loopfile.load_record(
            self.record, Record, self.title, '{"size": BYTES, "kind": "xfs" or "ext4"}'
        )

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
        self.check_there(self.record)
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
        return self.mount(known.kind)

    def remove(self, ledger: Ledger) -> Iterator[Change]:
        """No file, and nothing of what is in it. Raises `OnestackError` while it is in use."""
        if self.image.exists() or self.record.exists():
            yield Change(f"remove {self.title} {self.image}", lambda: self._remove(ledger))

    def _make(self, size: int, kind: str, ledger: Ledger) -> None:
        # Undone from the last to the first.
        ledger.record("loop", file=str(self.image))
        ledger.record("mount", target=str(self.directory))
        self.make(size, kind)
        loopfile.save_record(self.record, Record(size, kind))

    def _grow(self, size: int, kind: str) -> None:
        self.enlarge(size, kind)
        loopfile.save_record(self.record, Record(size, kind))

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

    def _check(self, size: int, kind: str, needed: int, key: str) -> None:
        if not loopfile.possible(kind):
            raise OnestackError(
                f"this machine cannot hold {self.title}",
                f"it has no loop device (/dev/loop-control), no mkfs.{kind}, or a kernel "
                f"without {kind}",
                "load the module loop (modprobe loop), or give the container /dev/loop-control",
            )
        loopfile.check_disk(self.image, self.title, size, needed, key)
