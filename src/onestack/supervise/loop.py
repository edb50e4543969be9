"""One thread that waits for file descriptors, timers, signals and children.

Nothing here sleeps: signals arrive through a wakeup pipe, the end of a child
by SIGCHLD.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from onestack.kernel import proc

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


def log(text: str) -> None:
    """One line in the supervisor's own log."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{stamp}.{int(now % 1 * 1000):03d} {text}\n")
        sys.stderr.flush()


@dataclass(order=True)
class Timer:
    when: float
    number: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


Watched = socket.socket | int


class Loop:
    """Callbacks that raise are logged, and do not end the loop."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._soon: deque[Callable[[], None]] = deque()
        self._children: dict[int, Callable[[int], None]] = {}
        self._signals: dict[int, Callable[[], None]] = {}
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._running = False
        self.idle: Callable[[], bool] | None = None
        """Called while nothing else is ready, until it returns False."""
        self._selector.register(self._wake_in, READ, self._drain_signals)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        self.on_signal(signal.SIGCHLD, lambda: None)

    def on_signal(self, number: int, call: Callable[[], None]) -> None:
        self._signals[number] = call
        signal.signal(number, lambda *_: None)

    def on_child(self, pid: int, call: Callable[[int], None]) -> None:
        """``call`` gets the exit code, or minus the number of the signal that killed it."""
        self._children[pid] = call

    def kill(self, pid: int) -> None:
        """Kill a child and wait for its end, which is a matter of milliseconds."""
        call = self._children.pop(pid, None)
        if call:
            proc.send([pid], signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._safely(call, os.waitstatus_to_exitcode(status))

    def strangers(self) -> set[int]:
        """Children that were not started here: orphans of descendants."""
        return proc.children(os.getpid()) - self._children.keys()

    def watch(self, thing: Watched, events: int, call: Callable[[int], None]) -> None:
        """Call with the events that are ready; watching again replaces."""
        try:
            self._selector.modify(thing, events, call)
        except KeyError:
            self._selector.register(thing, events, call)

    def unwatch(self, thing: Watched) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(thing)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + seconds, next(self._numbers), call)
        heapq.heappush(self._timers, timer)
        return timer

    def soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            for key, events in self._selector.select(self._timeout()):
                if key.fd in self._selector.get_map():  # not unwatched by one before it
                    self._safely(key.data, events)
            self._reap()
            now = time.monotonic()
            while self._timers and self._timers[0].when <= now:
                timer = heapq.heappop(self._timers)
                if timer.call:
                    self._safely(timer.call)
            self._run_soon()
            if self.idle and not self._safely(self.idle):
                self.idle = None
            self._run_soon()

    def _timeout(self) -> float | None:
        if self._soon or self.idle:
            return 0.0
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].when - time.monotonic())

    def _run_soon(self) -> None:
        while self._soon:
            self._safely(self._soon.popleft())

    def _drain_signals(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in set(os.read(self._wake_in, 4096)):
                if number in self._signals:
                    self._safely(self._signals[number])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            call = self._children.pop(pid, None)
            if call:  # else an orphan that was handed to us
                self._safely(call, os.waitstatus_to_exitcode(status))

    @staticmethod
    def _safely(call: Callable[..., bool | None], *arguments: int) -> bool | None:
        try:
            return call(*arguments)
        except Exception:  # noqa: BLE001
            log("a defect of the supervisor; it goes on:\n" + traceback.format_exc())
            return None

    def close_in_child(self) -> None:
        """After a fork, in the child: let go of all that belongs to the parent."""
        signal.set_wakeup_fd(-1)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
