"""What is in a passing state for longer than it can need, for `doctor` to name.

A message that died with the broker, a service that was killed: whoever was to do the rest does
not know of it any more, and nothing tells the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from onestack.model.findings import Finding, refuse

if TYPE_CHECKING:
    from onestack.database.passing import Passing

SHORT, LONG = 600, 3600
"""Seconds; the second for what carries as much data as somebody has."""
SHOWN = 3


def findings(
    things: Iterable[Passing], long: frozenset[str], cure: Callable[[Passing], str]
) -> Iterator[Finding]:
    """One for each kind and state, with the ``cure`` of the one that lasts longest.

    States of ``long`` may last an hour.
    """
    groups: dict[tuple[str, str], list[Passing]] = {}
    for thing in things:
        if thing.since > (LONG if thing.state in long else SHORT):
            groups.setdefault((thing.kind, thing.state), []).append(thing)
    for (kind, state), group in sorted(groups.items()):
        group.sort(key=lambda thing: -thing.since)
        first = group[0]
        named = ", ".join(thing.name or thing.identity for thing in group[:SHOWN])
        more = f" and {len(group) - SHOWN} more" if len(group) > SHOWN else ""
        many = "are" if len(group) > 1 else "is"
        yield refuse(
            f"{kind} {named}{more} {many} {state} for {_told(first.since)}",
            "whoever was to end that was interrupted, or waits for something that does not come",
            cure(first),
        )


def _told(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds < 2 * 3600 else f"{seconds // 3600} h"
