"""The prober: one child that tries whether processes answer, so that the supervisor never waits.

The supervisor sends it orders over a socket pair, and reads results from it.
Threads are welcome here. Requests go by plain `http.client`: no proxy of
anybody's environment, no keep-alive, nothing beside the standard library.

While a process starts it is tried at once, then every 0.1 s, slowing to
0.25 s. A request to a service whose listening socket the supervisor already
holds simply waits in the kernel's queue until the service answers: the edge
itself is waited for. Later each process is tried every 15 s, and every 2 s
while something is wrong.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import select
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field

from onestack.supervise.probes import orders
from onestack.supervise.probes.attempt import Attempts
from onestack.supervise.probes.base import ProbeResult

QUICK_FIRST, QUICK_LAST = 0.1, 0.25
SLOW = 15.0
WRONG = 2.0
START_TIMEOUT = 30.0
"""Seconds a request may take while a process starts: it then waits for the service."""
TIMEOUT = 10.0
START_AGE = 0.3
"""Seconds for which agents that start share a listing."""
AGE = SLOW / 2
"""Seconds for which agents that are ready do so."""


@dataclass
class Watched:
    """One process under observation."""

    order: orders.Watch
    quick: bool
    """It starts, and is tried often."""
    interval: float = QUICK_FIRST
    running: bool = False
    said: tuple[bool, str] | None = None


@dataclass
class Prober:
    """The child's main loop: when to try what."""

    channel: socket.socket
    watched: dict[str, Watched] = field(default_factory=dict)
    attempts: Attempts = field(default_factory=Attempts)

    def __post_init__(self) -> None:
        self._due: list[tuple[float, int, str, int]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended: list[tuple[Watched, ProbeResult]] = []

    def run(self) -> int:
        """Until the supervisor is gone."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        buffer = b""
        while True:
            wait = None
            if self._due:
                wait = max(0.0, self._due[0][0] - time.monotonic()) * 1000
            ready = dict(poll.poll(wait))
            if self.channel.fileno() in ready:
                data = self.channel.recv(65536)
                if not data:
                    return 0
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._carry_out(orders.decode_order(line))
            if self._wake_in in ready:
                os.read(self._wake_in, 4096)
                self._collect()
            self._start_due()

    def _carry_out(self, order: orders.Order) -> None:
        match order:
            case orders.Identify(identity):
                self.attempts.tokens.configure(identity)
            case orders.Watch():
                watched = self.watched[order.name] = Watched(order, order.starting)
                self._at(0.0, watched)
            case orders.Drop(name):
                self.watched.pop(name, None)

    def _at(self, seconds: float, watched: Watched) -> None:
        order = watched.order
        entry = (time.monotonic() + seconds, next(self._numbers), order.name, order.generation)
        heapq.heappush(self._due, entry)

    def _start_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, name, generation = heapq.heappop(self._due)
            watched = self.watched.get(name)
            if watched and watched.order.generation == generation and not watched.running:
                watched.running = True
                threading.Thread(target=self._try, args=(watched,), daemon=True).start()

    def _try(self, watched: Watched) -> None:
        timeout, age = (START_TIMEOUT, START_AGE) if watched.quick else (TIMEOUT, AGE)
        order = watched.order
        try:
            result = self.attempts.try_once(order.probe, timeout, age, order.born)
        except Exception as error:  # noqa: BLE001  # an answer of a shape nobody expected
            result = ProbeResult(False, f"the probe failed: {error!r}")
            if watched.said != (result.ok, result.text):
                sys.stderr.write(f"the probe of {order.name} failed:\n{traceback.format_exc()}")
        with self._lock:
            self._ended.append((watched, result))
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_out, b".")

    def _collect(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        for watched, result in ended:
            watched.running = False
            if self.watched.get(watched.order.name) is not watched:
                continue
            said = (result.ok, result.text)
            if not watched.quick or said != watched.said:
                self._report(watched.order, result)
            watched.said = said
            if result.ok:
                watched.quick = False
                self._at(SLOW * random.uniform(0.8, 1.2), watched)
            elif watched.quick:
                self._at(watched.interval, watched)
                watched.interval = min(watched.interval * 1.2, QUICK_LAST)
            else:
                self._at(WRONG, watched)

    def _report(self, order: orders.Watch, result: ProbeResult) -> None:
        found = orders.Found(
            order.name, order.generation, result.ok, result.text, result.unreachable
        )
        with contextlib.suppress(BrokenPipeError):
            self.channel.sendall(orders.encode_found(found))
