"""Why tests are skipped: each reason is listed, so that a new one is seen."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onestack.components.tempest.inside.results import Verdict
from onestack.components.tempest.selection import reasons

LISTED = Path(__file__).with_name("skips.txt")
NEW = "NEW"


@dataclass(frozen=True)
class Group:
    """Tests with one reason; ``why`` is what the list says of it, empty where it says nothing."""

    reason: str
    count: int
    why: str

    @property
    def sentence(self) -> str:
        return self.why or f"{NEW}: {self.reason}"


@functools.cache
def listed() -> dict[str, str]:
    """Expression -> why tests that it fits are skipped (`LISTED`)."""
    return reasons(LISTED.read_text())


def why(test: Verdict) -> str:
    """What the list says of a test that was skipped."""
    said = f"{test.short}: {test.first_line}"
    return next(
        (reason for expression, reason in listed().items() if re.search(expression, said)), ""
    )


def grouped(tests: Iterable[Verdict]) -> list[Group]:
    """What is not listed comes first, then the most frequent."""
    counts: Counter[tuple[str, str]] = Counter()
    for test in tests:
        known = why(test)
        counts["" if known else test.first_line, known] += 1
    found = [Group(reason, count, known) for (reason, known), count in counts.items()]
    return sorted(found, key=lambda group: (bool(group.why), -group.count, group.sentence))
