"""What chronyd says of the clock and of its servers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from onestack.host.command import run


@dataclass(frozen=True)
class Source:
    """One server. ``reach`` has a bit for each of the last eight questions that was answered."""

    name: str
    state: str
    reach: int
    heard: float
    """Seconds since its last answer; negative: there was none."""

    @property
    def answers(self) -> bool:
        return self.reach > 0

    @property
    def chosen(self) -> bool:
        return self.state in "*+"


@dataclass(frozen=True)
class Measured:
    sources: tuple[Source, ...]
    offset: float | None
    """Seconds that the machine's clock is behind the servers' time; ``None``: not known."""


def ask(chronyc: str, socket: str) -> Measured:
    """Raises `OnestackError` when chronyd does not answer."""

    def said(*words: str) -> list[list[str]]:
        answer = run([chronyc, "-h", socket, "-n", "-c", *words], timeout=15)
        return list(csv.reader(answer.out.splitlines()))

    return understood(said("sources"), said("tracking"))


def understood(sources: Sequence[Sequence[str]], tracking: Sequence[Sequence[str]]) -> Measured:
    """From the fields of chronyc's ``-c`` reports."""
    servers = tuple(
        Source(row[2], row[1], int(row[5], 8), _heard(row[6])) for row in sources if len(row) > 6
    )
    known = any(source.chosen for source in servers)
    offset = float(tracking[0][4]) if known and tracking and len(tracking[0]) > 4 else None
    return Measured(servers, offset)


def _heard(text: str) -> float:
    seconds = int(text)
    return -1.0 if seconds == 2**32 - 1 else float(seconds)


def behind(offset: float) -> str:
    """``0.2 ms behind the servers' time``."""
    size = abs(offset)
    if size < 0.00005:
        return "right to 0.1 ms"
    text = f"{size:.1f} s" if size >= 1 else f"{size * 1000:.1f} ms"
    return f"{text} {'behind' if offset > 0 else 'ahead of'} the servers' time"
