"""Which of Tempest's tests are taken, and which are left out in every cloud of onestack's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RUN, TESTS = "CONFIG_RUN_TEMPEST", "CONFIG_RUN_TEMPEST_TESTS"
SKIP = "CONFIG_SKIP_TEMPEST_TESTS"
SMOKE, API, FULL = "smoke", "api", "full"
WORDS = (SMOKE, API, FULL)
LEFT_OUT = Path(__file__).with_name("left_out.txt")


@dataclass(frozen=True)
class Selection:
    """``tests`` and ``skip`` are words: `SMOKE` (where there are none), `API`, `FULL`, expressions.

    ``workers`` is how many run at once; 0: as many as the machine is fit for.
    """

    tests: str = SMOKE
    skip: str = ""
    workers: int = 0

    def filters(self, plugins: Iterable[str]) -> list[str]:
        """Expressions of which one must fit; ``plugins`` are those of services that are on."""
        every = "|".join(map(re.escape, ("tempest", *sorted(set(plugins)))))
        named = {
            SMOKE: r"\[.*\bsmoke\b.*\]",
            # Heat's plugin calls them functional.
            API: rf"^(?:{every})\.(?:\w+\.)*(?:api|functional)\.",
            FULL: rf"^(?:{every})\.",
        }
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


def left_out() -> dict[str, str]:
    """Expression -> why the tests that it fits are of no use here (`LEFT_OUT`)."""
    return reasons(LEFT_OUT.read_text())


def reasons(text: str) -> dict[str, str]:
    """Expression -> reason, of lines of the two, with ``#`` between them."""
    found = {}
    for line in text.splitlines():
        expression, _, reason = line.partition("  # ")
        if expression.strip() and not line.startswith("#"):
            found[expression.strip()] = reason.strip()
    return found
