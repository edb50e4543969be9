"""packstack's answer file: one section ``[general]``, ``KEY=value`` lines, comments.

As packstack reads it: keys are case-insensitive, nothing is quoted, ``#`` and
``;`` begin a comment only at the beginning of a line (a password may hold
them), and what is missing takes its default. Unlike packstack, unknown keys
are reported (`onestack.answers.validate`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onestack.answers.registry import Registry
from onestack.answers.values import PLACEHOLDER
from onestack.kernel.files import write
from onestack.model.errors import BadAnswers
from onestack.model.key import Class, Key, Kind

WIDTH = 78


@dataclass(frozen=True)
class AnswerLine:
    """One ``name=text``, with where it was written (``line`` 0: not in a file)."""

    name: str
    text: str
    source: str
    line: int = 0

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class AnswerFile:
    """The lines of a file, as they were, and what they say."""

    lines: tuple[str, ...]
    entries: tuple[AnswerLine, ...]
    faults: tuple[str, ...]
    """Lines that cannot be read, each as a sentence."""

    def updated(self, values: Mapping[str, str], block: Callable[[str], str]) -> str:
        """The text with ``values`` put in place; comments and order are kept.

        Names that the file lacks are added at its end as ``block(name)``,
        which gives comment and line.
        """
        lines = list(self.lines)
        seen = set()
        for entry in self.entries:
            seen.add(entry.name)
            if entry.name in values:
                lines[entry.line - 1] = f"{entry.name}={values[entry.name]}"
        missing = [block(name) for name in values if name not in seen]
        return "\n".join([*lines, *(["", *missing] if missing else []), ""])


def parse(text: str, source: str) -> AnswerFile:
    """Read an answer file's ``text``; ``source`` is its name in messages."""
    entries: list[AnswerLine] = []
    faults: list[str] = []
    section = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip().removeprefix("\ufeff")
        if not line or line[0] in "#;":
            continue
        where = f"{source}:{number}"
        if line.startswith("["):
            section = line.strip("[] ").lower()
            if section != "general":
                faults.append(
                    f"{where}: the section {line} is not known; all keys are in [general]"
                )
            continue
        if not section:
            faults.append(f"{where}: this line stands before [general]; write [general] above it")
            section = "general"
        name, found, value = line.partition("=")
        if not found:
            faults.append(f"{where}: {line.split()[0]!r} is not followed by '=' and a value")
        elif section == "general":
            entries.append(AnswerLine(name.strip().upper(), value.strip(), source, number))
    return AnswerFile(tuple(text.splitlines()), tuple(entries), tuple(faults))


def is_there(path: Path) -> bool:
    """Also where it may not be looked at: `read` says why."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read(path: Path) -> AnswerFile:
    """Read ``path``. Raises `BadAnswers` when that cannot be done."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as problem:
        match problem:
            case PermissionError():
                cure = "run it as root, or name a file that you may read"
            case FileNotFoundError():
                cure = f"make one: onestack answers --write {path}"
            case _:
                cure = "make one: onestack answers --write FILE"
        raise BadAnswers(
            f"the answer file {path} cannot be read", problem.strerror or str(problem), cure
        ) from problem
    except UnicodeDecodeError as problem:
        raise BadAnswers(
            f"the answer file {path} is not UTF-8 text", str(problem), "save it as UTF-8"
        ) from problem


def _filled(text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def comment(key: Key) -> str:
    """The comment above a key: what it means, what may stand there, what becomes of it."""
    parts = [key.help.rstrip()]
    match key.kind:
        case Kind.FLAG:
            parts.append("(y or n)")
        case Kind.CHOICE:
            choices = [c or "(empty)" for c in key.choices]
            parts.append(f"(one of: {', '.join(choices)})")
        case Kind.SIZE:
            parts.append("(a size, such as 20G)")
        case Kind.LIST:
            parts.append("(comma-separated)")
        case _:
            pass
    text = _filled(" ".join(parts))
    if key.note:
        lead = {Class.IMPLEMENTED: "Note"}.get(key.outcome, key.outcome.value.capitalize())
        text += "\n" + _filled(f"{lead}: {key.note}.".replace("..", "."))
    return text


def block(key: Key, text: str, gone: bool = False) -> str:
    """``key``'s comment and its line, which is a comment too for one that is ``gone``."""
    return f"{comment(key)}\n{'#' if gone else ''}{key.name}={text}\n"


def full_text(registry: Registry, written: Callable[[str], str]) -> str:
    """A whole answer file: every key as ``written`` gives its comment and line."""
    parts = ["[general]\n"]
    for group in registry.groups:
        parts.append(f"## {group.title}\n")
        parts += [written(key.name) for key in group.keys]
    return "\n".join(parts)


def given_text(registry: Registry, given: Mapping[str, str], heading: Iterable[str]) -> str:
    """An answer file of only what was ``given``."""
    parts = ["\n".join(f"# {line}" for line in heading) + "\n[general]\n"]
    known = [name for group in registry.groups for name in (k.name for k in group.keys)]
    for name in sorted(given, key=lambda n: known.index(n) if n in known else len(known)):
        parts.append(block(registry.keys[name], given[name]))
    return "\n".join(parts)


def save(path: Path, text: str) -> None:
    """Write an answer file, readable by its owner only: it may hold passwords."""
    try:
        write(path, text, 0o600)
    except OSError as problem:
        raise BadAnswers(
            f"{path} cannot be written", problem.strerror or str(problem), "choose another place"
        ) from problem


__all__ = [
    "PLACEHOLDER",
    "AnswerFile",
    "AnswerLine",
    "block",
    "comment",
    "full_text",
    "given_text",
    "is_there",
    "parse",
    "read",
    "save",
]
