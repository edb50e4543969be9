"""Tables of an OVSDB server, as ``ovs-vsctl`` and ``ovn-nbctl`` print them with --format=json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """The wanted columns of one table, of all its rows or of those that a condition is true of."""

    table: str
    columns: tuple[str, ...]
    where: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        verb = ("find", self.table, self.where) if self.where else ("list", self.table)
        return ("--", f"--columns={','.join(self.columns)}", *verb)


def words(questions: Sequence[Question]) -> tuple[str, ...]:
    """What is written after the tool's name: all of it in one call."""
    asked = (word for question in questions for word in question.words)
    return ("--timeout=10", "--format=json", *asked)


def read(text: str, questions: Sequence[Question]) -> dict[str, list[Row]]:
    """The answer to `words`: a line for each question. Raises `ValueError` for another."""
    lines = text.splitlines()
    if len(lines) != len(questions):
        raise ValueError(f"{len(lines)} tables came where {len(questions)} were asked for")
    return {
        question.table: list(_rows(json.loads(line)))
        for question, line in zip(questions, lines, strict=True)
    }


def _rows(table: Any) -> Iterator[Row]:
    try:
        for row in table["data"]:
            yield dict(zip(table["headings"], map(plain, row), strict=True))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no table of OVSDB's: {error}") from None


def plain(value: Any) -> Any:
    """RFC 7047's notation as Python has it: a set is a list, a UUID its text."""
    match value:
        case ["uuid", str(identity)]:
            return identity
        case ["set", list(items)]:
            return [plain(item) for item in items]
        case ["map", list(pairs)]:
            return {plain(key): plain(item) for key, item in pairs}
    return value


def several(value: Any) -> list[Any]:
    """A column of any number: a set of one is written as the one."""
    return value if isinstance(value, list) else [value]


def one(value: Any) -> Any:
    """A column that may be empty: an empty set is nothing."""
    found = several(value)
    return found[0] if found else None
