"""A move with a way back: each step is written down before it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from onestack.host.locks import Tell, silent
from onestack.model.errors import OnestackError
from onestack.network.nic import clients, kernel, texts
from onestack.network.nic.journal import KEPT, TRYING, Journal, Record, Undo, boot, record

Undoing = Callable[[dict[str, Any]], Sequence[str]]
"""What could not be had again, and is no reason to fail."""
UNDO: Mapping[str, Undoing] = {
    "kernel": kernel.undo,
    "files": texts.undo,
    "clients": clients.undo,
}
UNDO_OF_ANOTHER_BOOT: Mapping[str, Undoing] = {
    "kernel": kernel.undo_of_another_boot,
    "files": texts.undo,
    "clients": lambda data: clients.undo(data) if clients.of(data["device"]) else (),
}
"""What was done to devices went with it; but it may have come again, by the files."""


class Transaction:
    """Begun, step by step, then kept or rolled back, by us or by whoever finds the journal."""

    def __init__(self, journal: Journal, begun: Record) -> None:
        self.journal = journal
        with journal.held():
            journal.write(begun)

    def step(self, kind: str, data: dict[str, Any], do: Callable[[], object]) -> None:
        """Raises `OnestackError` where it fails, or where somebody has rolled it back meanwhile."""
        with self.journal.held():
            self._need_trying()
            self.journal.push(Undo(kind, data))
            do()

    def keep(self, lasting: Callable[[Record], Record | None]) -> None:
        """From now on nobody rolls it back. ``lasting`` makes the record that stays, or none."""
        with self.journal.held():
            found = self._need_trying()
            kept = lasting(found)
            if kept is None:
                self.journal.remove()
            else:
                self.journal.write(replace(kept, state=KEPT, undo=(), before={}))

    def _need_trying(self) -> Record:
        found = self.journal.read()
        if found is None or found.state != TRYING:
            raise OnestackError(
                f"the host's network at {self.journal.nic} was put back meanwhile",
                "it was not confirmed in time",
                "run the same command again, with a longer --timeout",
            )
        return found


def roll_back(journal: Journal, tell: Tell = silent) -> bool:
    """Undo what was begun and not kept; whether there was any. Raises `OnestackError`.

    Whoever calls it first does it; it may be killed and called again. A step that cannot be
    undone stays in the journal, and keeps none of the others from being undone.
    """
    with journal.held():
        found = journal.read()
        if found is None or found.state != TRYING:
            return False
        undos = UNDO if found.boot == boot() else UNDO_OF_ANOTHER_BOOT
        left, failed, lost = list(found.undo), [], list[str]()
        for undo in reversed(found.undo):
            try:
                lost += undos[undo.kind](undo.data)
            except (OnestackError, OSError) as error:
                failed.append(error)
                continue
            left.remove(undo)
            # Undone once more it is the same: a full disk is no reason to stop here.
            with contextlib.suppress(OSError):
                journal.write(replace(found, undo=tuple(left)))
        if failed:
            raise _failure(journal, failed)
        if found.before:
            journal.write(record(dict(found.before)))
        else:
            journal.remove()
    if lost:
        # A terminal that is gone is no reason to fail.
        with contextlib.suppress(OSError):
            tell(f"{journal.nic} was put back, and has not got again: {'; '.join(lost)}")
    return True


def _failure(journal: Journal, failed: list[OnestackError | OSError]) -> OnestackError:
    if len(failed) == 1 and isinstance(failed[0], OnestackError):
        return failed[0]
    return OnestackError(
        f"not all of what was done with {journal.nic} could be put back",
        "\n".join(map(str, failed)),
        "mend what is said above, then run the same command again",
    )
