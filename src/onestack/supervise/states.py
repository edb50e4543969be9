"""The states of a process and the edges between them: no clock, no process, no file in here.

Times are seconds of the monotonic clock, given by the caller. The supervisor
is the only writer. `StateMachine.sentence` says all of it to people.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
DOUBLED = 6
"""So often the first delay is doubled at most: it is longer than the longest by then."""
ALLOWED_FAILURES = 5
"""Quick failures in a row after which nothing is tried any more until asked for."""
QUICK = 10.0
"""A process that was ready for fewer seconds than this has failed quickly."""
SETTLED = 60.0
"""After so many seconds of being ready, earlier failures are forgotten."""


class State(enum.Enum):
    STOPPED = "stopped"  # not wanted
    WAITING = "waiting"  # wanted, but something it needs is not ready
    STARTING = "starting"  # being prepared, or running and not yet ready
    READY = "ready"  # running, and its probe says so
    UNHEALTHY = "unhealthy"  # running, was ready, its probe has failed three times
    EXITED = "exited"  # gone by itself; what it left running is being ended
    BACKOFF = "backoff"  # failed, waiting until the next try
    STOPPING = "stopping"  # asked to end
    FATAL = "fatal"  # failed too often, not tried again until asked for


EDGES: dict[State, tuple[State, ...]] = {
    State.STOPPED: (State.WAITING,),
    State.WAITING: (State.STARTING, State.STOPPED),
    State.STARTING: (
        State.READY,
        State.EXITED,
        State.STOPPING,
        State.BACKOFF,  # could not even be spawned
        State.FATAL,
    ),
    State.READY: (State.UNHEALTHY, State.EXITED, State.STOPPING),
    State.UNHEALTHY: (State.READY, State.EXITED, State.STOPPING),
    State.EXITED: (State.BACKOFF, State.FATAL, State.STOPPING),
    State.BACKOFF: (State.WAITING, State.STOPPING, State.STOPPED),
    # failed: it was stopped by us because it did not get ready, or stopped accepting
    State.STOPPING: (State.STOPPED, State.BACKOFF, State.FATAL),
    State.FATAL: (State.WAITING, State.STOPPING, State.STOPPED),
}

RUNNING = (State.STARTING, State.READY, State.UNHEALTHY, State.EXITED, State.STOPPING)


def duration(seconds: float) -> str:
    """``0.3 s``, ``12 s``, ``5 min``, ``3 h``, ``4 days``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def ordinal(number: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth")
    if 1 <= number <= len(words):
        return words[number - 1]
    ends = {1: "st", 2: "nd", 3: "rd"} if number // 10 % 10 != 1 else {}
    return f"{number}{ends.get(number % 10, 'th')}"


@dataclass
class StateMachine:
    """One process's state, since when, and why."""

    now: float
    state: State = State.STOPPED
    since: float = 0.0
    pid: int | None = None
    detail: str = ""
    """What it waits for, what the probe said, how it ended."""
    last_line: str = ""
    failures: int = 0
    """In a row, for the delay."""
    quick: int = 0
    """Quick ones in a row, for giving up."""
    next_try: float = 0.0
    restarts: int = 0
    ever: bool = False
    """Whether it was ever started."""
    _spawned: float = 0.0
    _ready_for: float | None = None
    """Seconds it was ready before it ended; ``None`` if it never was."""

    def __post_init__(self) -> None:
        self.since = self.now

    def _to(self, state: State, now: float, detail: str = "") -> None:
        if state not in EDGES[self.state]:
            raise AssertionError(f"no edge from {self.state} to {state}")
        if self.state in (State.READY, State.UNHEALTHY) and state is not State.UNHEALTHY:
            self._ready_for = (self._ready_for or 0.0) + now - self.since
        self.state, self.since, self.detail = state, now, detail

    def wanted(self, now: float) -> None:
        """An explicit start: earlier failures are forgotten."""
        self.failures = self.quick = 0
        self._to(State.WAITING, now)

    def starting(self, now: float) -> None:
        if self.ever:
            self.restarts += 1
        self.ever = True
        self.pid, self._ready_for, self.last_line = None, None, ""
        self._to(State.STARTING, now)
        self._spawned = now

    def spawned(self, now: float, pid: int) -> None:
        """Its preparations are done and it runs."""
        self.pid, self._spawned = pid, now

    def ready(self, now: float, note: str = "") -> None:
        self._to(State.READY, now, note)

    def unhealthy(self, now: float, reason: str) -> None:
        self._to(State.UNHEALTHY, now, reason)

    def exited(self, now: float, how: str) -> None:
        """``how``: ``exited with 1``, ``killed by SIGSEGV``."""
        self._to(State.EXITED, now, f"{how} after {duration(now - self._spawned)}")
        self.pid = None

    def stopping(self, now: float, detail: str = "") -> None:
        self._to(State.STOPPING, now, detail)

    def stopped(self, now: float) -> None:
        self._to(State.STOPPED, now)
        self.pid = None

    def retry(self, now: float) -> None:
        """The delay is over."""
        self._to(State.WAITING, now)

    @property
    def was_quick(self) -> bool:
        """It ended before it was ready for long, if it ever was."""
        return self._ready_for is None or self._ready_for < QUICK

    def failed(
        self, now: float, how: str, last_line: str = "", passing: bool = False
    ) -> float | None:
        """Count a failure. Seconds until the next try, or ``None``: given up.

        What has a ``passing`` cause counts for the delay alone: however often it was tried
        meanwhile, it has all its tries once the cause is gone.
        """
        if self._ready_for is not None and self._ready_for >= SETTLED:
            self.failures = self.quick = 0
        self.failures += 1
        self.quick = self.quick + 1 if self.was_quick and not passing else 0
        self.pid = None
        if self.quick >= ALLOWED_FAILURES:
            self._to(State.FATAL, now, how)
            self.last_line = last_line
            return None
        delay = min(FIRST_DELAY * 2.0 ** min(self.failures - 1, DOUBLED), LONGEST_DELAY)
        self._to(State.BACKOFF, now, how)
        self.last_line = last_line
        self.next_try = now + delay
        return delay

    def sentence(self, now: float, stale: bool = False) -> str:
        """All of it, for people: one line, present tense."""
        text = self._sentence(now)
        return f"{text}; its configuration has changed since it was started" if stale else text

    def _sentence(self, now: float) -> str:
        for_so_long = f"since {duration(now - self.since)}"
        pid = f", pid {self.pid}" if self.pid else ""
        tail = f": {self.last_line}" if self.last_line else ""
        because = f": {self.detail}" if self.detail else ""
        match self.state:
            case State.STOPPED:
                return f"stopped {for_so_long}" if self.ever else "not started"
            case State.WAITING:
                return f"waits for {self.detail}" if self.detail else "waits for its turn"
            case State.READY:
                note = f" ({self.detail})" if self.detail else ""
                return f"ready {for_so_long}{pid}{note}"
            case State.BACKOFF:
                wait = duration(max(0.0, self.next_try - now))
                return f"{self.detail}, {ordinal(self.failures)} time, next try in {wait}{tail}"
            case State.FATAL:
                return f"given up: {self.detail}, {self.quick} times in a row{tail}"
            case State.EXITED:
                return self.detail
            case _:  # STARTING, UNHEALTHY, STOPPING
                return f"{self.state.value} {for_so_long}{pid}{because}"
