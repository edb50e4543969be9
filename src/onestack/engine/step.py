"""One small idempotent action, and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from onestack.model.change import Change
from onestack.model.errors import OnestackError


@dataclass(frozen=True)
class Step:
    """``ensure`` looks at the world and yields what is missing.

    The runner makes each change true before it asks for the next, except in
    a dry run; a step that needs the first change to see the second may raise
    `onestack.model.errors.NotYet` then, which the dry run reports as not yet known.
    """

    name: str
    title: str
    ensure: Callable[[], Iterator[Change]]
    needs: tuple[str, ...] = ()


class Outcome(enum.Enum):
    CHANGED = "changed"
    NOTHING = "nothing to do"
    FAILED = "failed"
    STOPPED = "stopped"  # by the operator
    NOT_STARTED = "not started"  # something failed, or the operator stopped the run
    UNKNOWN = "not yet known"  # dry run: depends on changes that were not made


@dataclass(frozen=True)
class StepResult:
    """``started`` and ``seconds`` count from the run's begin, on the monotonic clock."""

    name: str
    title: str
    outcome: Outcome
    changes: tuple[str, ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    error: OnestackError | None = None

    @property
    def sentence(self) -> str:
        """What a person wants to know of it."""
        match self.outcome:
            case Outcome.CHANGED:
                count = len(self.changes)
                return f"{count} change{'s' if count != 1 else ''}"
            case Outcome.FAILED if self.error is not None:
                return f"failed: {self.error.what}"
            case _:
                return str(self.outcome.value)


@dataclass
class RunReport:
    """The results of a run, in the order in which the steps ended."""

    results: list[StepResult] = field(default_factory=list)
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Step name and sentence of each change."""
        return [(r.name, what) for r in self.results for what in r.changes]

    @property
    def slowest(self) -> list[StepResult]:
        """The three steps that took longest, among those that did something."""
        worked = [r for r in self.results if r.outcome in (Outcome.CHANGED, Outcome.FAILED)]
        return sorted(worked, key=lambda r: -r.seconds)[:3]
