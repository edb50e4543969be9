"""One answer key: declared beside the component that uses it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Kind(enum.Enum):
    """How a key's text is read; validation follows from it."""

    TEXT = "text"
    FLAG = "flag"  # y or n -> bool
    NUMBER = "number"  # -> int
    RATIO = "ratio"  # -> float
    SIZE = "size"  # 20G, 512M -> bytes
    ADDRESS = "address"  # an IP address
    INTERFACE = "interface"  # an IP address with prefix length, 10.50.14.1/24
    LIST = "list"  # comma-separated -> tuple of str
    CHOICE = "choice"  # one of `choices`
    PATH = "path"
    SECRET = "secret"  # kept out of the answer file unless the operator put it there


class Class(enum.Enum):
    """What becomes of a packstack key."""

    IMPLEMENTED = "implemented"
    MAPPED = "mapped"  # `note` says to what
    IGNORED = "ignored"  # `note` says what it would have done
    REFUSED = "refused"  # `note` says why; only a value other than the default is refused


@dataclass(frozen=True)
class Key:
    """``default`` is text as in an answer file; ``PW_PLACEHOLDER`` asks for a random secret."""

    name: str
    default: str
    help: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    outcome: Class = Class.IMPLEMENTED
    note: str = ""
    aliases: tuple[str, ...] = ()
    """Older or other spellings, accepted and reported."""
    check: Callable[[str], str | None] | None = None
    """Returns what is wrong with a value, or ``None``."""
    implies: tuple[str, ...] = ()
    """Of a flag: others that are y where it is, whatever is said of them."""
    network_of: str = ""
    """For the network of a service's own guests: the flag that turns the service on."""
