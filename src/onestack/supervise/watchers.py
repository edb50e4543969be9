"""Clients that wait until processes are ready, or down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from onestack.supervise import order
from onestack.supervise.control import Connection
from onestack.supervise.loop import Loop, Timer
from onestack.supervise.protocol import Done, Failure
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
        self._known.loop.soon(self.look)

    def look(self) -> None:
        """Answer those whose processes have got there, or never will."""
        for watcher in list(self._all):
            if watcher.connection.closed:
                self._remove(watcher)
            elif all(p.state is watcher.goal for p in watcher.processes):
                self._remove(watcher)
                watcher.connection.send(Done())
            elif watcher.goal is State.READY and (culprit := self._culprit(watcher.processes)):
                self._remove(watcher)
                self._fail(watcher, culprit)

    def _culprit(self, processes: list[Supervised]) -> Supervised | None:
        """A process that gave up, among those waited for or those they need."""
        # one that is waited for may have left the roster meanwhile
        known = self._known.processes | {p.name: p for p in processes}
        members = {name: process.member() for name, process in known.items()}
        name = order.culprit([p.name for p in processes], members)
        return known[name] if name else None

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
        watcher.connection.send(
            Failure(
                what,
                process.sentence(),
                f"see {process.log}",
                component=process.spec.component,
                lines=tuple(process.lines(15)),
            )
        )

    def _remove(self, watcher: Watcher) -> None:
        if watcher.timer:
            watcher.timer.cancel()
        self._all.remove(watcher)
