"""Warming the parent: importing, once, what the Python services share.

One module a turn of the loop, so that the supervisor keeps answering
meanwhile. A module that cannot be imported, or that makes the parent unfit to
be forked (a thread, eventlet), is reported and not fatal.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable

from onestack.kernel.import_blocker import Refusal
from onestack.supervise import heap_fill
from onestack.supervise.loop import log
from onestack.supervise.protocol import PreloadStatus

FORBIDDEN = ("eventlet",)
"""Not imported into the supervisor: children that use native threads refuse to start after it."""

NATIVE_THREADS = "onestack.runtime.native_threads"


class Preloader:
    """``modules`` may name eventlet itself: then, and only then, it is let in.

    Libraries that only ask whether it is there take the answer no (nova does
    the same to itself in threaded mode). Children may import it again.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        modules = tuple(modules)
        self._refusal = None if set(FORBIDDEN) & set(modules) else Refusal(*FORBIDDEN)
        self._todo = deque(dict.fromkeys((NATIVE_THREADS, *modules)))
        self._known = set(self._todo)
        self.total = len(self._todo) - 1
        self.seconds = 0.0
        self.problems: list[str] = []
        self.done = False

    def add(self, modules: Iterable[str]) -> bool:
        """More of them, later on; whether there is anything new to import."""
        new = [m for m in dict.fromkeys(modules) if m not in self._known]
        self._known.update(new)
        self._todo.extend(new)
        self.total += len(new)
        if new:
            self.done = False
        return bool(new)

    def status(self) -> PreloadStatus:
        return PreloadStatus(self.sentence, self.done, self.seconds, tuple(self.problems))

    @property
    def sentence(self) -> str:
        ready = max(0, self.total - len(self._todo))
        if not self.done:
            return f"the zygote ({ready} of {self.total} modules imported)"
        return f"{self.total} modules imported in {self.seconds:.1f} s"

    def step(self) -> bool:
        """Import one module; whether there is more to do."""
        if self._todo:
            self._import(self._todo.popleft())
            return True
        if not self.done:
            started = time.monotonic()
            if threading.active_count() > 1:
                names = ", ".join(t.name for t in threading.enumerate()[1:])
                self._problem(f"an imported module started threads ({names}): no child has them")
            gc.collect()
            heap_fill.fill()
            gc.freeze()
            gc.enable()
            self.seconds += time.monotonic() - started
            self.done = True
            log(f"preload: {self.sentence}")
        return False

    def _import(self, module: str) -> None:
        gc.disable()
        started = time.monotonic()
        if self._refusal:
            sys.meta_path.insert(0, self._refusal)
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001
            log(traceback.format_exc())
            self._problem(f"{module} cannot be imported: {type(error).__name__}: {error}")
        finally:
            if self._refusal:
                sys.meta_path.remove(self._refusal)
        self.seconds += time.monotonic() - started

    def _problem(self, text: str) -> None:
        self.problems.append(text)
        log(f"preload: {text}")
