"""packstack's keys from Havana to its last release, as a table (`packstack.tsv`).

The table says of each key its last default (or ours, where we differ), what
it meant, its command line option, and what becomes of it here as long as no
component declares it. A component's own declaration counts more.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onestack.model.key import Class, Key, Kind

RELEASES = ("mitaka", "latest")
"""Of packstack's, whose defaults are known: the guide's, and its last."""


@dataclass(frozen=True)
class Row:
    """``target`` is the key whose value this one sets, for older names.

    ``old`` marks names that packstack itself no longer wrote by its end. ``defaults`` has
    packstack's own for each of `RELEASES` that had the key, in the table's words
    (`onestack.answers.stock`).
    """

    key: Key
    options: tuple[str, ...]
    """packstack's on its command line, without dashes; today's first, then older spellings."""
    target: str
    old: bool
    defaults: Mapping[str, str]


@functools.cache
def rows() -> dict[str, Row]:
    """Name -> row, in the order of names."""
    text = (Path(__file__).parent / "packstack.tsv").read_text("utf-8")
    found: dict[str, Row] = {}
    for line in text.splitlines()[1:]:
        fields = line.split("\t")
        name, default, kind, choices, outcome, target, option, era, meaning, note = fields[:10]
        own = {r: d for r, d in zip(RELEASES, fields[10:], strict=True) if d != "-"}
        options = tuple(filter(None, option.split("|")))
        key = Key(
            name,
            default,
            meaning,
            Kind(kind),
            tuple(choices.split("|")) if choices else (),
            Class(outcome),
            note,
        )
        found[name] = Row(key, options, target, era == "old", own)
    return found
