"""Commands that services may have run for them: what sudoers and rootwrap filters are for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ANY = r"[\s\S]*"
"""Matches every word."""


class Refused(Exception):
    """The text says why."""


@dataclass(frozen=True)
class RootCommand:
    """One kind of command. Patterns are regular expressions that match a word as a whole.

    ``words`` are its first words, in order; the last of them is the program that is meant.
    """

    words: tuple[str, ...]
    rest: str = ""
    """What each further word matches; nothing: there may be none."""
    environment: tuple[str, ...] = ()
    """Before the last of ``words`` may stand ``env NAME=VALUE…``, each matching one of these."""
    leading: int = 0
    """How many of ``words`` are the asking program's own (``cinder-rootwrap CONFIG``): what is
    run begins after them."""
    as_root: bool = True
    """Whether it runs as root. Else the asking user runs it itself: it needs no privileges."""
    notes: str = ""
    """Folder in which a file is made before it runs, named as word ``noted`` (from 0 on) of what
    is run: an undo finds by them what was touched."""
    noted: int = 0
    settings: tuple[str, ...] = ()
    """``NAME=VALUE``: environment that it is run with, whatever the asking program has."""

    def misfit(self, command: Sequence[str]) -> tuple[int, str]:
        """How many words of ``command`` fit, and what is wrong with the next: nothing if all do."""
        position = 0
        for index, pattern in enumerate(self.words):
            if self.environment and index == len(self.words) - 1:
                position, wrong = self._past_environment(command, position)
                if wrong:
                    return position, wrong
            word = command[position] if position < len(command) else None
            if word is None or not re.fullmatch(pattern, word):
                found = "nothing follows" if word is None else f"{_quoted(word)} stands there"
                return position, f"{found} where {pattern} is allowed"
            position += 1
        for word in command[position:]:
            if not (self.rest and re.fullmatch(self.rest, word)):
                return position, f"{_quoted(word)} may not follow"
            position += 1
        return position, ""

    def _past_environment(self, command: Sequence[str], position: int) -> tuple[int, str]:
        if list(command[position : position + 1]) == ["env"]:
            position += 1
            while position < len(command) and "=" in command[position]:
                if not any(re.fullmatch(one, command[position]) for one in self.environment):
                    name = _quoted(command[position].partition("=")[0])
                    return position, f"the variable {name} may not be set"
                position += 1
        return position, ""


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 80 else word[:79] + "…")


def chosen(command: Sequence[str], allowed: Iterable[RootCommand]) -> RootCommand:
    """The first of ``allowed`` that ``command`` is.

    Raises `Refused`, with what keeps it from being the one that it is nearest to.
    """
    best, reason = -1, "no command is allowed"
    for one in allowed:
        fits, wrong = one.misfit(command)
        if not wrong:
            return one
        if fits > best:
            best, reason = fits, wrong
    raise Refused(reason)
