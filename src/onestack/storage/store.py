"""What every store can do, whatever it is kept in: a file, a disk, a plain directory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from onestack.host.files import write_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.errors import OnestackError

DIRECTORY = "directory"
"""In the place of a filesystem: a plain directory on one of the machine's own."""

EXAMPLE = '{"size": BYTES, "kind": KIND, "user": USER, "sparse": true}'
KINDS = "KIND is its filesystem (xfs or ext4) or directory, USER whose it is, or empty"


@dataclass(frozen=True)
class StoreRecord:
    """What a store is to be, or is: then it lies beside it as JSON, written last."""

    size: int
    """What it offers, bytes."""
    kind: str
    """Its filesystem, or `DIRECTORY`."""
    user: str = ""
    """Who works in it; nobody in particular: whoever has it says so otherwise."""
    sparse: bool = True
    """Whether it takes disk space only as it is written to."""
    server: str = ""
    """Who serves its files to other hosts, if anybody does, and may read and write them, too."""

    @property
    def in_file(self) -> bool:
        return self.kind != DIRECTORY

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> StoreRecord:
        """Raises `TypeError` or `KeyError` for what is no record."""
        if "file" in raw:
            # So the volumes' pool was recorded before all stores had one form.
            kind = "xfs" if raw["file"] else DIRECTORY
            return cls(raw["size"], kind, raw["user"], raw.get("sparse", False))
        return cls(**raw)


@dataclass(frozen=True)
class StoreFacts:
    """A store as it is, for people and scripts; sizes in bytes."""

    kind: str
    """``file`` (a filesystem inside, on a loop device), ``directory`` or ``volume group``."""
    size: int
    stored: int
    """What of the disk is really taken."""
    place: str
    """The file, the directory, or the group's name."""
    device: str
    """The loop device, while there is one; or the group's devices."""


@dataclass(frozen=True)
class PoolFacts(StoreFacts):
    """Of what holds all volumes.

    ``stored`` is what they really take of the disk; shared blocks count once.
    """

    provisioned: int
    """The sum of the sizes of all volumes and snapshots; no more than ``size`` is given out."""
    volumes: int
    snapshots: int
    metadata_percent: float = 0.0
    """Of a thin pool's room for its own account, what is taken."""

    @property
    def free(self) -> int:
        return max(0, self.size - self.provisioned)


class Attachable(Protocol):
    """Something to be mounted, as root, in the mount namespace of those who use it."""

    def attach(self) -> Iterable[str]:
        """Mount what is not mounted yet; says what was done. Raises `OnestackError`."""

    def detach(self) -> Iterable[str]:
        """Unmount it; says what is in use and stays mounted, a sentence each."""


class Store(Attachable, Protocol):
    """Room of a size of its own.

    What a method was doing when it was interrupted is completed when it is called again.
    All raise `OnestackError`.
    """

    def check(self, wanted: StoreRecord) -> None:
        """Changes nothing. Raises when this machine cannot hold it, or not so much of it."""

    def ensure(self, wanted: StoreRecord, ledger: Ledger) -> Iterator[Change]:
        """Made as ``wanted``, or larger: it grows and never shrinks. Not yet attached."""

    def grow(self, size: int) -> None:
        """Enlarge it to ``size`` bytes, in use or not."""

    def remove(self, ledger: Ledger) -> Iterator[Change]:
        """No such store, and nothing of what is in it. Raises while it is in use."""

    def facts(self) -> StoreFacts | None:
        """As it is now; ``None`` when there is none. Needs root."""

    def snapshot(self, target: Path) -> None:
        """A moment's copy in the new folder ``target``, which shares its blocks."""


def load_record(path: Path, title: str) -> StoreRecord | None:
    """``None`` while there is none. Raises `OnestackError` for a damaged record."""
    try:
        return StoreRecord.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise OnestackError(
            f"the record of {title}, {path}, cannot be read",
            str(problem),
            f"write {EXAMPLE} into it ({KINDS}), then run the same command again",
        ) from problem


def save_record(path: Path, record: StoreRecord) -> None:
    write_file(path, json.dumps(dataclasses.asdict(record)) + "\n", mode=0o644)
