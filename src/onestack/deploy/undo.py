"""Undoing what the ledger holds. Writing into it is `onestack.host.ledger`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onestack.host import (
    devices,
    files,
    mounts,
    netns,
    packages,
    sysctl,
    users,
)
from onestack.host.ledger import Entry, Ledger
from onestack.host.locks import Tell, silent

# Each registers the undo of its kinds.
from onestack.model.errors import OnestackError

REGISTERED = (devices, files, mounts, netns, packages, sysctl, users)

__all__ = ["Entry", "Ledger", "Undone", "undo_all"]


@dataclass(frozen=True)
class Undone:
    """``packages`` were installed for the cloud and stay on the machine."""

    count: int
    packages: tuple[str, ...]


def undo_all(ledger: Ledger, *, tell: Tell = silent, skip: Collection[str] = ()) -> Undone:
    """Undo all entries, the last made first; each is struck out when it is undone.

    What cannot be undone stays in the ledger, and does not keep the rest from
    being undone. Raises `OnestackError` that lists it. Kinds in ``skip`` stay.
    """
    failed: list[tuple[Entry, OnestackError]] = []
    kept: list[str] = []
    count = 0
    for entry in reversed(ledger.entries()):
        if entry.kind in skip:
            continue
        if entry.kind == "packages":
            kept += entry.data["names"]
        else:
            tell(f"undo: {entry}")
        try:
            entry.undo()
        except OnestackError as error:
            failed.append((entry, error))
            continue
        except OSError as error:
            failed.append((entry, OnestackError(f"{entry} cannot be undone", str(error))))
            continue
        ledger.forget(entry.kind, **entry.data)
        count += 1
    if failed:
        raise OnestackError(
            f"{len(failed)} things made on this machine could not be undone",
            "\n".join(f"{entry}: {error}" for entry, error in failed),
            "mend what is said above, then run the same command again",
        )
    return Undone(count, tuple(sorted(set(kept))))
