"""Alembic's version files read as text: which revisions are heads, without importing anything."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterable
from pathlib import Path

_ASSIGNED = re.compile(
    r"^(revision|down_revision|depends_on|branch_labels)\s*(?::[^=\n]*)?=\s*", re.MULTILINE
)
_ONE = threading.Lock()
"""Python 3.11 counts the depth of all threads' trees in one place (SystemError "AST constructor
recursion depth mismatch", python/cpython#106905)."""


def revision_of(text: str) -> dict[str, object]:
    """The module-level names of a version file that alembic reads, those that are literals."""
    found: dict[str, object] = {}
    for match in _ASSIGNED.finditer(text):
        found[match[1]] = _literal(text, match.end())
    return found


def _literal(text: str, start: int) -> object:
    """The literal at ``start``, which may go over several lines; ``None`` for anything else."""
    end = text.find("\n", start)
    while True:
        piece = text[start : end if end >= 0 else len(text)]
        try:
            with _ONE:
                return ast.literal_eval(piece.strip())
        except (SyntaxError, ValueError):
            # Neutron's branch labels are names; open brackets go on in the next line.
            if end < 0 or piece.count("(") + piece.count("[") <= piece.count(")") + piece.count(
                "]"
            ):
                return None
            end = text.find("\n", end + 1)


def _names(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, (tuple, list)):
        return {v for v in value if isinstance(v, str)}
    return set()


def heads(folders: Iterable[Path]) -> set[str]:
    """Revisions on which no other one builds: what ``alembic_version`` holds in the end.

    A revision that another depends on (``depends_on``) is no head of its own.
    Empty when the folders hold no version files.
    """
    revisions: set[str] = set()
    below: set[str] = set()
    for folder in folders:
        for path in folder.rglob("*.py"):
            found = revision_of(path.read_text(encoding="utf-8"))
            if names := _names(found.get("revision")):
                revisions |= names
                below |= _names(found.get("down_revision")) | _names(found.get("depends_on"))
    return revisions - below
