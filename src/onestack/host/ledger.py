"""What a cloud made on the host outside its root, kept until it is undone.

An entry is on disk before the thing is made, so that a run killed in
between leaves at worst an entry for something that is not there; each undo
takes that as done. The undo of a kind stands beside the operation that makes
it, in its module's ``UNDO`` or its component's ``undo``; `onestack.deploy.undo`
joins them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.kernel import files, locks
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError


@dataclass(frozen=True)
class LedgerEntry:
    """``data`` is what the undo needs; ``at`` seconds since 1970, for people."""

    kind: str
    data: dict[str, Any]
    at: float = 0.0

    def __str__(self) -> str:
        values = ", ".join(
            " ".join(map(str, v)) if isinstance(v, list) else str(v)
            for v in self.data.values()
            if v
        )
        return f"{self.kind} {values}"


class Ledger:
    """``ROOT/etc/ledger.json`` (0600); any number of objects and threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, cloud: Cloud) -> Ledger:
        return cls(cloud.etc / "ledger.json")

    def entries(self) -> list[LedgerEntry]:
        """All, oldest first. Raises `OnestackError` for a file that cannot be read."""
        try:
            raw = json.loads(self.path.read_text())
        except FileNotFoundError:
            return []
        except (ValueError, OSError) as error:
            raise OnestackError(
                f"the ledger {self.path} cannot be read",
                str(error),
                "put it back from a backup; without it destroy cannot know what to undo",
            ) from error
        return [LedgerEntry(e["kind"], e["data"], e.get("at", 0.0)) for e in raw]

    def record(self, kind: str, **data: Any) -> None:
        """Write down, before making it, something of ``kind``. The same twice is kept once."""
        entry = LedgerEntry(kind, data, time.time())
        with self._locked():
            entries = self.entries()
            if not any(e.kind == kind and e.data == data for e in entries):
                self._write([*entries, entry])

    def forget(self, kind: str, **data: Any) -> None:
        """Strike out what has been undone."""
        with self._locked():
            entries = self.entries()
            rest = [e for e in entries if not (e.kind == kind and e.data == data)]
            if len(rest) < len(entries):
                self._write(rest)

    def hand_over(self, successor: Path) -> None:
        """What other clouds use as well (``shared`` in its data) is undone by the last of them.

        ``successor`` is the root of one that stays (`onestack.host.clouds.hand_over`). What
        it made may lie in what it is given, and so is undone before.
        """
        other = Ledger(successor / "etc" / "ledger.json")
        shared = [entry for entry in self.entries() if entry.data.get("shared")]
        with other._locked():
            known = other.entries()
            has = [(entry.kind, entry.data) for entry in known]
            if more := [entry for entry in shared if (entry.kind, entry.data) not in has]:
                other._write([*more, *known])
        for entry in shared:
            self.forget(entry.kind, **entry.data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(self.path.with_suffix(".lock")):
            yield

    def _write(self, entries: list[LedgerEntry]) -> None:
        files.write(self.path, json.dumps([vars(e) for e in entries], indent=1), 0o600)
