"""Jobs: functions run once in a child, such as database migrations."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

from onestack.kernel import proc
from onestack.model.process import SERVICES
from onestack.supervise import logs
from onestack.supervise.child import Child, Fork, ended_how, load, read_status
from onestack.supervise.loop import Loop, log
from onestack.supervise.states import duration


@dataclass(frozen=True)
class Order:
    """``log`` is the job's name, and its log file's."""

    log: str
    run: str
    user: str
    arguments: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    environment: str = SERVICES
    seconds: float = 0.0
    """Killed after that long; 0: never."""


Ended = Callable[[int, str, list[str]], None]


@dataclass
class Job:
    order: Order
    since: float
    pid: int = 0
    waiters: list[Ended] = field(default_factory=list)


def run_job(order: Order, sockets: dict[str, socket]) -> int | None:
    """In the child."""
    return load(order.run)(order.arguments)


class Jobs:
    """All that run now, by name. The same order twice is one job with two waiters."""

    def __init__(self, loop: Loop, root: Path, fork: Fork) -> None:
        self._loop, self._root, self._fork = loop, root, fork
        self.running: dict[str, Job] = {}

    def start(self, order: Order, ended: Ended) -> str | None:
        """``ended`` gets the exit code, how it ended, and its last lines.

        Returns why it cannot be started: another job of that name runs.
        """
        job = self.running.get(order.log)
        if job:
            if job.order != order:
                return f"another job {order.log} is running, pid {job.pid}"
            job.waiters.append(ended)
            return None
        job = Job(order, time.monotonic(), waiters=[ended])
        self.running[order.log] = job
        path = self._root / "log" / f"{order.log}.log"
        start = logs.size(path)
        child = Child(
            name=order.log,
            root=self._root,
            log=path,
            user=order.user,
            groups=order.groups,
            env=order.env,
            environment=order.environment,
            call=partial(run_job, order),
            title=f"{order.log} [{self._root}]",
        )
        try:
            job.pid, status = self._fork(child)
        except OSError as error:
            del self.running[order.log]
            return f"it could not be started: {error.strerror}"
        log(f"{order.log}: job started, pid {job.pid}")
        if order.seconds:
            self._loop.later(order.seconds, lambda: self._too_long(job))

        def gone(code: int) -> None:
            reason = read_status(status)
            del self.running[order.log]
            how = f"could not be started: {reason}" if reason else ended_how(code)
            how += f" after {duration(time.monotonic() - job.since)}"
            log(f"{order.log}: job {how}")
            lines = logs.last_lines(path, 15, start)
            for waiter in job.waiters:
                waiter(code, how, lines)

        self._loop.on_child(job.pid, gone)
        return None

    def _too_long(self, job: Job) -> None:
        if self.running.get(job.order.log) is job:
            proc.send([job.pid], signal.SIGKILL)

    def end_all(self) -> None:
        proc.send([job.pid for job in self.running.values()], signal.SIGTERM)
