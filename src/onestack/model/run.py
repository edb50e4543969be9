"""One run of the program on a cloud: what all that works for it shares, and no other run sees.

A context has its run. Operations on the host, which are given no context, find it by the
thread that they are called in.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Run:
    """``stop`` is set when the operator wants to stop: what may be cut short then is."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._kept: dict[str, Any] = {}
        # One that is made may need another.
        self._lock = threading.RLock()

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gave when it was first asked for by this ``name``."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            made: T = self._kept[name]
            return made

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The calling thread works for it, and threads that `thread` makes meanwhile."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)


_CURRENT: contextvars.ContextVar[Run] = contextvars.ContextVar("run")


def this_run() -> Run:
    """The one that the calling thread works for; one that nobody stops, where there is none."""
    return _CURRENT.get(None) or Run()


def thread(work: Callable[[], None], name: str) -> threading.Thread:
    """A thread, not started yet, that works for the calling thread's run.

    It keeps no program from ending.
    """
    context = contextvars.copy_context()
    return threading.Thread(target=context.run, args=(work,), name=name, daemon=True)
