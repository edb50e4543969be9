"""Typed answers: from the text of an answer file to what a component works with."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onestack.answers import facter
from onestack.model.key import Key, Kind

PLACEHOLDER = "PW_PLACEHOLDER"
"""packstack's word for "make a password for me"."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_FLAGS = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}


class BadValue(ValueError):
    """A value that its key cannot take; the text says what would do."""


def size(text: str) -> int:
    """``20G`` -> bytes (powers of 1024). Raises `BadValue`."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise BadValue("a size is digits and a unit, such as 20G or 512M")
    return int(match[1]) * _UNITS[match[2].upper()]


def too_small(text: str, smallest: int, what: str) -> str | None:
    """Why ``text`` is no size for ``what``, which has at least ``smallest`` bytes."""
    try:
        if size(text) >= smallest:
            return None
    except BadValue as problem:
        return str(problem)
    unit = f"; without a unit these are bytes: did you mean {text}G?" if text.isdigit() else ""
    return f"{what} has at least {show_size(smallest)}{unit}"


def show_size(count: int) -> str:
    """The shortest exact spelling of ``count`` bytes: 21474836480 -> ``20G``."""
    for unit in ("T", "G", "M", "K"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)


def flag(text: str) -> bool:
    """``y`` or ``n`` -> bool. Raises `BadValue`."""
    try:
        return _FLAGS[text.strip().lower()]
    except KeyError:
        raise BadValue("write y or n") from None


def split(text: str) -> tuple[str, ...]:
    """``a, b`` -> ``("a", "b")``; nothing -> ``()``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadValue("write a whole number") from None


def _ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadValue("write a number, such as 1.5") from None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadValue("write an IP address, such as 192.0.2.10") from None


def _interface(text: str) -> str:
    try:
        if "/" not in text:
            raise ValueError
        return str(ipaddress.ip_interface(text))
    except ValueError:
        raise BadValue("write an IP address and its prefix length, such as 10.50.14.1/24") from None


def _choice(text: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if text.lower() == choice.lower():
            return choice
    raise BadValue(f"choose one of: {', '.join(c or '(nothing)' for c in choices)}")


def _expanded(text: str) -> str:
    try:
        return facter.expand(text)
    except KeyError as unknown:
        known = ", ".join(sorted([*facter.FACTS, *facter.OURS]))
        raise BadValue(
            f"facter's {unknown.args[0]} is not known here (only {known}); write the value itself"
        ) from None


def at_least(least: int) -> Callable[[str], str | None]:
    """A key's check: a whole number from ``least`` on."""

    def check(text: str) -> str | None:
        try:
            return None if int(text) >= least else f"write a whole number from {least} on"
        except ValueError:
            return "write a whole number"

    return check


def means_default(text: str) -> bool:
    """Whether a text stands for "as you like": packstack's placeholder, or a fact of ours."""
    return text == PLACEHOLDER or facter.as_you_like(text)


def parse(key: Key, text: str) -> Any:
    """The typed value of ``text`` for ``key``. Raises `BadValue`.

    Nothing written is allowed where the default is nothing too, and gives
    ``None`` for numbers and sizes, ``False`` for flags, ``()`` for lists and
    ``""`` for the rest.
    """
    text = text.strip()
    if means_default(text):
        text = "" if means_default(key.default) else key.default
        if key.kind is Kind.SECRET:
            return ""
    if key.kind is not Kind.SECRET:
        text = _expanded(text)
    if key.check and text and (wrong := key.check(text)):
        raise BadValue(wrong)
    if not text and key.default not in ("", PLACEHOLDER) and key.kind not in _MAY_BE_EMPTY:
        raise BadValue(f"it may not be empty; the default is {key.default}")
    return _typed(key, text)


def _typed(key: Key, text: str) -> Any:
    match key.kind:
        case Kind.FLAG:
            return flag(text) if text else False
        case Kind.NUMBER:
            return _number(text) if text else None
        case Kind.RATIO:
            return _ratio(text) if text else None
        case Kind.SIZE:
            return size(text) if text else None
        case Kind.ADDRESS:
            return _address(text) if text else ""
        case Kind.INTERFACE:
            return _interface(text) if text else ""
        case Kind.LIST:
            return split(text)
        case Kind.CHOICE:
            return _choice(text, key.choices) if text or "" in key.choices else ""
        case _:
            return text


_MAY_BE_EMPTY = {
    Kind.TEXT,
    Kind.LIST,
    Kind.PATH,
    Kind.SECRET,
    Kind.ADDRESS,
    Kind.INTERFACE,
}


class Answers(Mapping[str, Any]):
    """Key name -> typed value; keys that were not given have their default.

    ``given`` maps names to their text as the operator wrote it. All values
    are parsed at once, so `BadValue` comes from here and from nowhere later;
    `onestack.answers.validate` gives the readable report of all of them.
    """

    def __init__(self, keys: Mapping[str, Key], given: Mapping[str, str] | None = None) -> None:
        self._keys = keys
        self._given = {
            name: text for name, text in (given or {}).items() if not means_default(text)
        }
        self._values = {
            name: parse(key, self._given.get(name, key.default)) for name, key in keys.items()
        }
        self._implied = {n for k in keys.values() if self._values[k.name] for n in k.implies}
        self._values |= dict.fromkeys(self._implied, True)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        """Names only: values may be secrets."""
        return f"Answers(given={sorted(self._given)})"

    @property
    def given(self) -> Mapping[str, str]:
        """What the operator gave, as text."""
        return dict(self._given)

    def is_given(self, name: str) -> bool:
        """Whether the operator gave ``name`` (even if the value is the default's)."""
        return name in self._given

    def is_implied(self, name: str) -> bool:
        """Whether it is y because of another key that is, whatever the operator gave."""
        return name in self._implied

    def key(self, name: str) -> Key:
        return self._keys[name]

    def text(self, name: str) -> str:
        """The value as an answer file has it."""
        return self._given.get(name, self._keys[name].default)

    def shown(self, name: str) -> str:
        """The value for people, as it counts: a secret is never shown."""
        if self.is_implied(name):
            return "y"
        text = self.text(name)
        secret = self._keys[name].kind is Kind.SECRET and text not in ("", PLACEHOLDER)
        return "********" if secret else text
