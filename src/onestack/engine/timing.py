"""How long each step of each run took: kept in ROOT/log/timings.json. Standard library only."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from onestack.engine.step import Outcome, RunReport
from onestack.kernel import files

KEPT = 50
"""Runs that are remembered."""


@dataclass(frozen=True)
class StepTime:
    """Seconds; ``started`` counts from the run's begin."""

    name: str
    title: str
    started: float
    seconds: float
    changes: int
    outcome: str


@dataclass(frozen=True)
class RunTime:
    """``at`` is the wall clock at the end, seconds since 1970."""

    verb: str
    at: float
    seconds: float
    steps: tuple[StepTime, ...]

    def slowest(self, count: int = 3) -> list[StepTime]:
        worked = [s for s in self.steps if s.outcome != Outcome.NOT_STARTED.value]
        return sorted(worked, key=lambda s: -s.seconds)[:count]


def of(verb: str, report: RunReport) -> RunTime:
    steps = tuple(
        StepTime(
            r.name,
            r.title,
            round(r.started, 3),
            round(r.seconds, 3),
            len(r.changes),
            r.outcome.value,
        )
        for r in report.results
    )
    return RunTime(verb, time.time(), round(report.seconds, 3), steps)


def load(log: Path) -> list[RunTime]:
    """The runs kept in ``log``, oldest first. A file that cannot be read counts as none."""
    try:
        raw = json.loads((log / "timings.json").read_text())
        return [
            RunTime(r["verb"], r["at"], r["seconds"], tuple(StepTime(**s) for s in r["steps"]))
            for r in raw
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def save(log: Path, run: RunTime) -> None:
    """Add ``run``. Timings are a comfort: a disk that is full does not fail the run."""
    runs = [*load(log), run][-KEPT:]
    with contextlib.suppress(OSError):
        log.mkdir(parents=True, exist_ok=True)
        files.write(log / "timings.json", json.dumps([asdict(r) for r in runs]), 0o644)


def blame(run: RunTime) -> list[tuple[str, str, str, str]]:
    """Rows of a table: began, took, step, what became of it; the slowest first."""
    return [
        (f"{s.started:.1f} s", f"{s.seconds:.1f} s", s.name, _became(s))
        for s in run.slowest(len(run.steps))
    ]


def _became(step: StepTime) -> str:
    if step.outcome == Outcome.CHANGED.value:
        return f"{step.changes} change{'s' if step.changes != 1 else ''}"
    return step.outcome
