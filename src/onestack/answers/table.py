"""packstack's keys from Havana to its last release, as a table (`packstack.tsv`).

The table says of each key its last default (or ours, where we differ), what
it meant, its command line option, and what becomes of it here as long as no
component declares it. A component's own declaration counts more.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from onestack.model.key import Class, Key, Kind


@dataclass(frozen=True)
class Row:
    """``target`` is the key whose value this one sets, for older names.

    ``old`` marks names that packstack itself no longer wrote by its end.
    """

    key: Key
    option: str
    target: str
    old: bool


@functools.cache
def rows() -> dict[str, Row]:
    """Name -> row, in the order of names."""
    text = (Path(__file__).parent / "packstack.tsv").read_text("utf-8")
    found: dict[str, Row] = {}
    for line in text.splitlines()[1:]:
        name, default, kind, choices, outcome, target, option, era, meaning, note = line.split("\t")
        key = Key(
            name,
            default,
            meaning,
            Kind(kind),
            tuple(choices.split("|")) if choices else (),
            Class(outcome),
            note,
        )
        found[name] = Row(key, option, target, era == "old")
    return found
