"""Undoing what the ledger holds. Writing into it is `onestack.host.ledger`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onestack.components import ALL
from onestack.deploy import unit
from onestack.host import files, mounts, netns, nftables, packages, sysctl, users
from onestack.host.ledger import Ledger, LedgerEntry
from onestack.host.locks import Tell, silent
from onestack.model.change import Undo
from onestack.model.errors import OnestackError
from onestack.network import left_alone
from onestack.network.nic import operations as nic
from onestack.storage import loop, pool, volume_group

OWN = (
    *(files, left_alone, mounts, netns, nftables, nic, packages, sysctl, users, loop, pool),
    *(volume_group, unit),
)
"""Modules, beside components, that write into the ledger."""


def undos() -> dict[str, Undo]:
    """Of all kinds of entries. Raises `ValueError` for a kind that has two."""
    joined: dict[str, Undo] = {}
    for own in (*(module.UNDO for module in OWN), *(component.undo for component in ALL)):
        if twice := joined.keys() & own.keys():
            raise ValueError(f"two undos of {', '.join(sorted(twice))}")
        joined |= own
    return joined


def undo(entry: LedgerEntry, known: Mapping[str, Undo]) -> None:
    """Raises `OnestackError` when it cannot be undone."""
    if entry.kind not in known:
        raise OnestackError(
            f"the ledger has an entry of the unknown kind {entry.kind!r}",
            "it was written by another version of onestack",
            "destroy the cloud with the version that made it",
        )
    known[entry.kind](entry.data)


@dataclass(frozen=True)
class Undone:
    """``packages`` were installed for the cloud and stay on the machine."""

    count: int
    packages: tuple[str, ...]


def undo_all(
    ledger: Ledger, known: Mapping[str, Undo], *, keep: Collection[str] = (), tell: Tell = silent
) -> Undone:
    """Undo all entries, the last made first; each is struck out when it is undone.

    ``known`` is as `undos` gives it; entries of a kind in ``keep`` stay. What cannot be
    undone stays in the ledger, and does not keep the rest from being undone. Raises
    `OnestackError` that lists it.
    """
    failed: list[tuple[LedgerEntry, OnestackError]] = []
    kept: list[str] = []
    count = 0
    for entry in reversed([each for each in ledger.entries() if each.kind not in keep]):
        if entry.kind == packages.PACKAGES:
            kept += entry.data["names"]
        else:
            tell(f"undo: {entry}")
        try:
            undo(entry, known)
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
