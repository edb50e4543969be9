"""What a move has done so far, on disk before it is done: the way back of one that was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onestack.kernel import files, locks
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError

TRYING, KEPT = "trying", "kept"
_STARTED = 22 - 3
"""Of what follows a process's name in its ``stat`` (proc_pid_stat(5))."""


@dataclass(frozen=True)
class Undo:
    """One step back: a kind of `onestack.network.nic.transaction`, and what it needs."""

    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """``undo`` is a stack, its last entry is gone first."""

    nic: str
    bridge: str
    state: str
    verb: str = "attach"
    manager: str = ""
    boot: str = ""
    """The start that it was begun in: another one has nothing of what was done to devices."""
    undo: tuple[Undo, ...] = ()
    files: tuple[dict[str, Any], ...] = ()
    """What was written for the next boots: path, and what stood there before."""
    back: tuple[tuple[str, ...], ...] = ()
    """Commands for whoever reads these files, once they are as before."""
    before: dict[str, Any] = field(default_factory=dict)
    """While another move is tried: the record that is valid again if it fails."""


class Journal:
    """``ROOT/etc/nic/NIC.json`` (0600)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, cloud: Cloud, nic: str) -> Journal:
        return cls(folder(cloud) / f"{nic}.json")

    @property
    def nic(self) -> str:
        return self.path.stem

    def read(self) -> Record | None:
        """``None`` where nothing was begun. Raises `OnestackError` for what cannot be read."""
        try:
            return record(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise OnestackError(
                f"{self.path} does not say what was done with {self.nic}",
                f"it is damaged: {type(error).__name__}: {error}",
                "put it back from a backup, or put the host's network right by hand and delete it",
            ) from error

    def write(self, record: Record) -> None:
        files.write(self.path, json.dumps(asdict(record), indent=1), 0o600)

    def push(self, undo: Undo) -> None:
        """Before the step that it undoes."""
        found = self.read()
        assert found is not None
        self.write(replace(found, undo=(*found.undo, undo)))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Between who keeps a move and who goes back."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locks.held(self.path.with_suffix(".lock")):
            yield


def record(raw: dict[str, Any]) -> Record:
    undo = tuple(Undo(**each) for each in raw["undo"])
    back = tuple(tuple(words) for words in raw["back"])
    return Record(**{**raw, "undo": undo, "files": tuple(raw["files"]), "back": back})


def boot(proc: Path = Path("/proc")) -> str:
    """Of this start of the machine; a container that is started anew is in the same boot."""
    first = (proc / "1/stat").read_text().rpartition(")")[2].split()
    return f"{(proc / 'sys/kernel/random/boot_id').read_text().strip()} {first[_STARTED]}"


def folder(cloud: Cloud) -> Path:
    return cloud.etc / "nic"


def journals(cloud: Cloud) -> list[Journal]:
    """Of all NICs of the cloud."""
    place = folder(cloud)
    return [Journal(path) for path in sorted(place.glob("*.json"))] if place.is_dir() else []
