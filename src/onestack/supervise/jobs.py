"""Jobs: functions run once in a child, such as database migrations."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket

from onestack.kernel import proc
from onestack.supervise import logs
from onestack.supervise.child import Child, Fork, ended_how, load, read_status
from onestack.supervise.loop import Loop, log
from onestack.supervise.protocol import JobEnded, JobStatus, RunJob
from onestack.supervise.states import duration

Ended = Callable[[JobEnded], None]


@dataclass
class RunningJob:
    order: RunJob
    since: float
    pid: int = 0
    waiters: list[Ended] = field(default_factory=list)


def run_job(order: RunJob, sockets: dict[str, socket]) -> int | None:
    """In the child."""
    return load(order.run)(order.arguments)


class Jobs:
    """All that run now, by name. The same order twice is one job with two waiters."""

    def __init__(self, loop: Loop, root: Path, fork: Fork) -> None:
        self._loop, self._root, self._fork = loop, root, fork
        self.running: dict[str, RunningJob] = {}

    def start(self, order: RunJob, ended: Ended) -> str | None:
        """``ended`` is called when it has ended.

        Returns why it cannot be started: another job of that name runs.
        """
        job = self.running.get(order.log)
        if job:
            if job.order != order:
                return f"another job {order.log} is running, pid {job.pid}"
            job.waiters.append(ended)
            return None
        job = RunningJob(order, time.monotonic(), waiters=[ended])
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
            lines = tuple(logs.last_lines(path, 15, start))
            for waiter in job.waiters:
                waiter(JobEnded(code, how, lines))

        self._loop.on_child(job.pid, gone)
        return None

    def listing(self) -> tuple[JobStatus, ...]:
        now = time.monotonic()
        return tuple(JobStatus(j.order.log, j.pid, now - j.since) for j in self.running.values())

    def _too_long(self, job: RunningJob) -> None:
        if self.running.get(job.order.log) is job:
            proc.send([job.pid], signal.SIGKILL)

    def end_all(self) -> None:
        proc.send([job.pid for job in self.running.values()], signal.SIGTERM)
