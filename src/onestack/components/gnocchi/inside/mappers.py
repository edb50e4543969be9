"""Classes of resource types are made while nobody uses any (services' environment).

Gnocchi makes a class for each type of resource when it is first asked for, or has changed, in
whichever thread asks. Upstream takes that for safe; but SQLAlchemy shows a class that is half
made to sessions of other threads, and a request of theirs ended in 500 (`AttributeError:
'Mapper' object has no attribute '_props'`, `dictionary changed size during iteration`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gnocchi.indexer import sqlalchemy as indexer
from gnocchi.indexer import sqlalchemy_base as base

SESSIONS = (
    *("independent_reader", "independent_writer", "reader", "writer"),
    *("reader_connection", "writer_connection"),
)
PATIENCE = 10.0
"""Seconds: another session may itself wait for a row that the one who waits here has locked."""


class Gate:
    """Many are in sessions, or one makes a class and everybody else stands still.

    Who waits to make one stands still too, though it is in a session.
    """

    def __init__(self) -> None:
        self._alone = threading.Lock()
        self._changed = threading.Condition()
        self._moving = 0
        self._makers = 0
        self._mine = threading.local()

    @contextmanager
    def session(self) -> Iterator[None]:
        depth = getattr(self._mine, "depth", 0)
        if not depth:
            with self._changed:
                self._changed.wait_for(lambda: not self._makers, PATIENCE)
                self._moving += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if not depth:
                self._count(moving=-1)

    @contextmanager
    def making(self) -> Iterator[None]:
        own = 1 if getattr(self._mine, "depth", 0) else 0
        self._count(moving=-own, makers=1)
        try:
            with self._alone:
                with self._changed:
                    self._changed.wait_for(lambda: not self._moving, PATIENCE)
                yield
        finally:
            self._count(moving=own, makers=-1)

    def _count(self, moving: int = 0, makers: int = 0) -> None:
        with self._changed:
            self._moving += moving
            self._makers += makers
            self._changed.notify_all()


def make_alone() -> None:
    """Let upstream make classes behind a gate that its sessions pass."""
    gate = Gate()
    for name in SESSIONS:
        _behind(gate, name)
    of_type = indexer.ResourceClassMapper.get_classes

    @functools.wraps(of_type)
    def get_classes(self: Any, resource_type: Any) -> Any:
        if _current(self, resource_type):
            return of_type(self, resource_type)
        with gate.making():
            found = of_type(self, resource_type)
            base.Base.registry.configure()
        return found

    indexer.ResourceClassMapper.get_classes = get_classes


def _current(mapper: Any, resource_type: Any) -> bool:
    """Whether upstream has the type's classes, as it decides itself."""
    there = mapper._cache.get(resource_type.tablename)
    return there is not None and (
        resource_type.name == "generic" or resource_type.updated_at <= there["updated_at"]
    )


def _behind(gate: Gate, name: str) -> None:
    upstreams: Callable[[Any], Any] = getattr(indexer.PerInstanceFacade, name)

    @contextmanager
    def session(self: Any) -> Iterator[Any]:
        with gate.session(), upstreams(self) as found:
            yield found

    setattr(indexer.PerInstanceFacade, name, functools.wraps(upstreams)(session))
