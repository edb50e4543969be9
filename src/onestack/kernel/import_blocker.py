"""Modules that count as not installed, for who only asks whether they are there.

Many a library imports another in a ``try`` for what it could do with it. Where
nothing of a cloud uses that, it takes memory and time for nothing.
"""

from __future__ import annotations

import sys


class Refusal:
    """While it stands in ``sys.meta_path`` an import of these fails, and is tried again later."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in self._names:
            raise ImportError(f"{name} is kept out", name=name)


def refuse(*names: str) -> None:
    """For this process and those forked from it."""
    sys.meta_path.insert(0, Refusal(*names))
