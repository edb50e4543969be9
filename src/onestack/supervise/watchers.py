"""Clients that wait until processes are ready, or down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from onestack.supervise.control import Connection
from onestack.supervise.loop import Loop, Timer
from onestack.supervise.states import State, duration
from onestack.supervise.supervised import Supervised


class Known(Protocol):
    loop: Loop
    processes: dict[str, Supervised]


@dataclass
class Watcher:
    connection: Connection
    processes: list[Supervised]
    goal: State
    timer: Timer | None = None


class Watchers:
    def __init__(self, known: Known) -> None:
        self._known = known
        self._all: list[Watcher] = []

    def until_ready(
        self, connection: Connection, processes: list[Supervised], seconds: float
    ) -> None:
        watcher = Watcher(connection, processes, State.READY)
        watcher.timer = self._known.loop.later(seconds, lambda: self._late(watcher, seconds))
        self._add(watcher)

    def until_down(self, connection: Connection, processes: list[Supervised]) -> None:
        self._add(Watcher(connection, processes, State.STOPPED))

    def _add(self, watcher: Watcher) -> None:
        self._all.append(watcher)
        for process in watcher.processes:
            watcher.connection.event(**process.describe())
        self._known.loop.soon(self.look)

    def changed(self, process: Supervised) -> None:
        for watcher in self._all:
            if process in watcher.processes:
                watcher.connection.event(**process.describe())

    def look(self) -> None:
        """Answer those whose processes have got there, or never will."""
        for watcher in list(self._all):
            if watcher.connection.closed:
                self._remove(watcher)
            elif all(p.state is watcher.goal for p in watcher.processes):
                self._remove(watcher)
                watcher.connection.done()
            elif watcher.goal is State.READY:
                culprit = self._culprit(watcher.processes)
                if culprit:
                    self._remove(watcher)
                    self._fail(watcher, culprit)

    def _culprit(self, processes: Iterable[Supervised]) -> Supervised | None:
        """A process that gave up, among those waited for or those they need."""
        todo, seen = list(processes), set[str]()
        while todo:
            process = todo.pop()
            if process.name in seen or process.state is State.READY:
                continue
            seen.add(process.name)
            if process.state is State.FATAL:
                return process
            if process.state is State.STOPPED and not process.wanted:
                return process
            needs = (self._known.processes.get(name) for name in process.spec.needs)
            # what is not wanted yet may be wanted soon: only what gave up counts
            todo += [n for n in needs if n and n.state is not State.STOPPED]
        return None

    def _late(self, watcher: Watcher, seconds: float) -> None:
        if watcher not in self._all:
            return
        self._remove(watcher)
        left = [p for p in watcher.processes if p.state is not State.READY]
        # one that waits for another is not the one to show
        left.sort(key=lambda p: p.state is State.WAITING)
        self._fail(watcher, left[0], seconds)

    def _fail(self, watcher: Watcher, process: Supervised, seconds: float = 0.0) -> None:
        what = f"{process.name} is not ready"
        if seconds:
            what += f" after {duration(seconds)}"
        watcher.connection.error(
            what,
            process.sentence(),
            f"see {process.log}",
            process=process.name,
            component=process.spec.component,
            lines=process.lines(15),
        )

    def _remove(self, watcher: Watcher) -> None:
        if watcher.timer:
            watcher.timer.cancel()
        self._all.remove(watcher)
