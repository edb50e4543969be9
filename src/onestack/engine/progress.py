"""What is going on: a tree of started and finished events that listeners only listen to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from onestack.host.telling import listen
from onestack.host.telling import tell as tell

STARTED, NOTE, FINISHED = "started", "note", "finished"


@dataclass(frozen=True)
class ProgressEvent:
    """``path`` leads from the run to the node; ``at`` and ``seconds`` are seconds.

    ``kind`` is ``started``, ``note`` (``title`` is the sentence) or
    ``finished`` (``outcome`` says how).
    """

    kind: str
    path: tuple[str, ...]
    title: str
    at: float
    seconds: float = 0.0
    outcome: str = ""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "at": round(self.at, 3), "seconds": round(self.seconds, 3)}


Listener = Callable[[ProgressEvent], None]


class Progress:
    """The root of the tree. Events reach the listeners one at a time, from any thread."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._begin = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begin

    def emit(self, event: ProgressEvent) -> None:
        with self._lock:
            for listener in self._listeners:
                listener(event)

    @contextmanager
    def child(self, name: str, title: str, parent: Node | None = None) -> Iterator[Node]:
        """A node that starts now and is finished at the end of the block."""
        node = Node(self, (*parent.path, name) if parent else (name,), title)
        before = listen(node.note)
        started = self.now
        self.emit(ProgressEvent(STARTED, node.path, title, started))
        try:
            yield node
        except BaseException:
            node.outcome = node.outcome or "failed"
            raise
        finally:
            listen(before)
            now = self.now
            self.emit(
                ProgressEvent(
                    FINISHED, node.path, title, now, now - started, node.outcome or "done"
                )
            )


class Node:
    """Something going on; set ``outcome`` before its block ends."""

    def __init__(self, progress: Progress, path: tuple[str, ...], title: str) -> None:
        self.path = path
        self.title = title
        self.outcome = ""
        self._progress = progress

    def note(self, sentence: str) -> None:
        self._progress.emit(ProgressEvent(NOTE, self.path, sentence, self._progress.now))

    @contextmanager
    def child(self, name: str, title: str) -> Iterator[Node]:
        with self._progress.child(name, title, self) as node:
            yield node
