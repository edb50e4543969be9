"""Verbs that a controller may have run on its hosts, and the words that may follow them.

One vocabulary for all three who look at it: the command that asks, the host that is asked, and
that host's supervisor, which runs nothing else for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = r"[a-z0-9][a-z0-9._-]{0,80}"
_WHAT = rf"{_NAME}(?:/{_NAME})?"
_NUMBER = r"[0-9]{1,4}(?:\.[0-9]{1,3})?"
FURTHER = {
    "status": rf"--json|{_WHAT}",
    "doctor": rf"--json|--hours={_NUMBER}",
    "logs": rf"--lines=[0-9]{{1,5}}|{_WHAT}",
    "restart": rf"--timeout={_NUMBER}|{_WHAT}",
    "blame": r"--json|--verb=[a-z]{1,20}|-n[0-9]{1,5}",
}
"""Verb to what each word after it matches as a whole."""
WORDS = 8
"""Such words at most."""
LONGEST = 9999
"""Seconds that one may take."""
SECONDS = r"[1-9][0-9]{0,3}"
"""The same, as it is written; never 0, which is no limit to `timeout`."""


def misfit(verb: str, options: Sequence[str]) -> str:
    """The first word that may not be there; nothing if all may."""
    if verb not in FURTHER:
        return verb or "nothing"
    if len(options) > WORDS:
        return options[WORDS]
    return next((word for word in options if not re.fullmatch(FURTHER[verb], word)), "")


def number(value: float) -> str:
    """``value`` as a word may have it, to the millisecond."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
