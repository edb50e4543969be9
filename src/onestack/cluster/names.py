"""Names of hosts: told apart without regard to capitals or a dot at the end."""

from __future__ import annotations

import re

from onestack.model.errors import BadAnswers

RESERVED = frozenset(
    {"all", "any", "cloud", "cluster", "controller", "door", "host", "localhost", "none"}
    | {"onestack", "self"}
)
"""Words that mean something else where a host may be named. What a certificate is for is never
told by a name, but people should not have to wonder either."""
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
LONGEST = 64
"""Characters: Linux's own limit for a machine's name."""


def normal(text: str) -> str:
    """``text`` as names are compared, whether or not it may be one."""
    return text.strip().removesuffix(".").lower()


def host_name(text: str) -> str:
    """``text`` as the name of a host that is to join. Raises `BadAnswers`."""
    name = normal(text)
    if name in RESERVED or name.partition(".")[0] == "localhost":
        raise BadAnswers(
            f"no host may be called {name!r}",
            "the word means something else in onestack's own commands",
            "give it another name: onestack join --host NAME …",
        )
    fits = text.isascii() and len(name) <= LONGEST and _NAME.fullmatch(name)
    if not fits or re.fullmatch(r"[\d.]+", name):
        raise BadAnswers(
            f"{text[: 2 * LONGEST]!r} cannot be the name of a host",
            f"it has up to {LONGEST} letters a to z, digits and -, with dots between the parts, "
            "and is no address",
            "give it another name: onestack join --host NAME …",
        )
    return name
