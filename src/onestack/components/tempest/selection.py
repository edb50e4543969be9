"""Which of Tempest's tests are taken, and which are left out in every cloud of onestack's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN, TESTS = "CONFIG_RUN_TEMPEST", "CONFIG_RUN_TEMPEST_TESTS"
SKIP = "CONFIG_SKIP_TEMPEST_TESTS"
SMOKE, FULL = "smoke", "full"
# What upstream's own gate calls full: all but what it marks as slow.
_FULL = r"(?!.*\[.*\bslow\b.*\])^tempest\.(api|scenario|serial_tests)\."
LEFT_OUT = Path(__file__).with_name("left_out.txt")


@dataclass(frozen=True)
class Selection:
    """``tests`` and ``skip`` are words: `SMOKE` (where there are none), `FULL` or expressions."""

    tests: str = SMOKE
    skip: str = ""

    @property
    def filters(self) -> list[str]:
        """Expressions of which one must fit."""
        named = {SMOKE: r"\[.*\bsmoke\b.*\]", FULL: _FULL}
        return [named.get(word, word) for word in self.tests.split() or (SMOKE,)]

    @property
    def exclude(self) -> str:
        """An expression that must not fit; empty: there is none."""
        return "|".join(f"({word})" for word in self.skip.split())


def wrong(text: str) -> str | None:
    """What is wrong with words of tests to take, or ``None``."""
    return next(filter(None, map(_wrong, text.split())), None)


def wrong_skip(text: str) -> str | None:
    """The same for tests to leave out, whose words become one expression."""
    return wrong(text) or _wrong(Selection(skip=text).exclude)


def _wrong(expression: str) -> str | None:
    try:
        re.compile(expression)
    except re.error as error:
        return f"{expression!r} is no regular expression: {error}"
    return None


def left_out(text: str | None = None) -> dict[str, str]:
    """Expression -> why the tests that it fits are of no use here (`LEFT_OUT`)."""
    lines = (LEFT_OUT.read_text() if text is None else text).splitlines()
    found = {}
    for line in lines:
        expression, _, reason = line.partition("  # ")
        if expression.strip() and not line.startswith("#"):
            found[expression.strip()] = reason.strip()
    return found
