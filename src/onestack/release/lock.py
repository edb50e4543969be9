"""A lock file's text: which distributions it pins, and who asked for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pinned:
    """One distribution of a lock: ``text`` are its lines, ``wanted_by`` who asked for it."""

    name: str
    text: str
    wanted_by: frozenset[str]

    @property
    def hashes(self) -> frozenset[str]:
        """Of its files, SHA-256 in hexadecimal."""
        return frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", self.text))

    @property
    def pin(self) -> str:
        """The lines without the remark of who asked for it."""
        return self.text.partition("    # via")[0]

    @property
    def version(self) -> str:
        return self.text.partition("==")[2].split(maxsplit=1)[0]


def parse(lock: str) -> tuple[Pinned, ...]:
    """In the lock's order. A name comes twice where its version depends on Python's."""
    found = []
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        said = entry.partition("# via")[2].replace("#", " ").split("\n")
        wanted_by = frozenset(line.strip() for line in said if line.strip())
        found.append(Pinned(entry.partition("==")[0], entry, wanted_by))
    return tuple(found)


def closure(lock: str, names: Iterable[str], left_out: Collection[str] = ()) -> str:
    """The part of ``lock`` with ``names`` and all that they need, without ``left_out``.

    What only those need that are left out is not in it either. Nor is who asked for each:
    others of the lock, that come and go. Raises `KeyError` for a name that the lock does not
    have.
    """
    pinned = parse(lock)
    waiting = list(names)
    if unknown := {*waiting, *left_out} - {one.name for one in pinned}:
        raise KeyError(f"the lock does not have {', '.join(sorted(unknown))}")
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in needed and name not in left_out:
            needed.add(name)
            waiting += [other.name for other in pinned if name in other.wanted_by]
    return "".join(one.pin for one in pinned if one.name in needed)
