"""What people see: plain lines, tables, and one screen for an error.

The terminal library is imported only when there is something for it to show,
and does without it where the program's environment does not exist yet.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from onestack.model.errors import OnestackError


def say(text: str = "", file: TextIO | None = None) -> None:
    """One line, now (progress may be read through a pipe)."""
    print(text, file=file or sys.stdout, flush=True)


def note(text: str) -> None:
    """Something worth knowing that is not the answer: on stderr."""
    say(text, sys.stderr)


def as_json(value: Any) -> None:
    """``value`` for a script."""
    say(json.dumps(value, indent=2, sort_keys=True, default=str))


def line_of_json(**values: Any) -> None:
    """One line, after the lines of JSON that told of the progress."""
    say(json.dumps(values, default=str))


def would(changes: Iterable[tuple[str, str]]) -> None:
    """The changes of a dry run: step and what."""
    count = 0
    for step, what in changes:
        say(f"{step}: {what}")
        count += 1
    say(f"{count} change{'s' if count != 1 else ''} would be made; nothing was changed.")


def error(problem: OnestackError) -> None:
    """What failed, why, and the cure, on stderr."""
    parts = (("why", problem.why), ("cure", problem.cure))
    if not sys.stderr.isatty():
        note(f"onestack: {problem.what}")
        for label, text in parts:
            for number, line in enumerate(text.splitlines()):
                note(f"  {label + ':' if number == 0 else '':<5} {line}")
        return
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.padding import Padding
    except ImportError:
        note(str(problem))
        return
    console = Console(stderr=True, highlight=False, soft_wrap=False)
    console.print(f"[bold red]{escape(problem.what)}[/]")
    for label, text in parts:
        if text:
            colour = "yellow" if label == "why" else "green"
            console.print(f"[{colour}]{label}[/]")
            console.print(Padding(escape(text), (0, 0, 0, 2)))


def when(moment: float) -> str:
    """By this machine's clock, to the minute; ``moment`` is in seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout: aligned columns on a terminal and through a pipe alike."""
    all_rows = [tuple(headings), *(tuple(row) for row in rows)]
    last = len(headings) - 1
    widths = [max(len(row[i]) for row in all_rows) for i in range(last)]
    for number, row in enumerate(all_rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        line = "  ".join([*cells, row[last]]).rstrip()
        bold = number == 0 and sys.stdout.isatty()
        say(f"\033[1m{line}\033[0m" if bold else line)


def confirm(question: str, yes: bool) -> bool:
    """Ask on a terminal; elsewhere only ``--yes`` says yes."""
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
