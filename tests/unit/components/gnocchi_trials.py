"""Trials of what is changed in gnocchi, each run by `test_gnocchi_upstream` in a process."""

from __future__ import annotations

import datetime
import sys
import threading
import uuid
from typing import Any

import sqlalchemy
from gnocchi.indexer import sqlalchemy as indexer
from gnocchi.indexer import sqlalchemy_base as base
from sqlalchemy.orm import Session

from onestack.components.gnocchi.inside import mappers

THREADS, TYPES = 6, 8


class Type:
    """Of a resource, as the database has it."""

    state = "active"

    def __init__(self) -> None:
        self.name = self.tablename = f"rt_{uuid.uuid4().hex}"
        self.updated_at = datetime.datetime.now()

    def to_baseclass(self) -> type:
        return type(f"Base{self.name}", (object,), {})


class Facade(indexer.PerInstanceFacade):  # type: ignore[misc]
    """Sessions that have no database: what is in question comes before a statement is sent."""

    def __init__(self) -> None:
        class Transactions:
            @property
            def writer(self) -> Any:
                return self

            def using(self, context: Any) -> Session:
                return Session(autoflush=False)

        self.trans, self._context = Transactions(), None


def errors(rounds: int) -> list[str]:
    """The first that many threads meet that put resources of new types at the same time."""
    found: list[str] = []
    maker, facade = indexer.ResourceClassMapper(), Facade()

    def put(types: list[Type]) -> None:
        for kind in types:
            try:
                with facade.writer() as session:
                    resource = maker.get_classes(kind)["resource"]
                    session.add(resource(id=uuid.uuid4(), type=kind.name))
                    try:
                        session.flush()
                    except sqlalchemy.exc.UnboundExecutionError:
                        session.expunge_all()
                    str(session.query(base.Resource))
            except (AttributeError, RuntimeError) as error:
                found.append(repr(error))

    for _ in range(rounds):
        if found:
            break
        types = [Type() for _ in range(TYPES)]
        threads = [threading.Thread(target=put, args=(types,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "they wait for each other"
    return found


def classes_are_made_alone() -> None:
    sys.setswitchinterval(1e-6)
    met = errors(100)
    assert met, "upstream has mended it: the change can go"
    assert all("_props" in one or "changed size" in one for one in met), met
    mappers.make_alone()
    assert errors(15) == []


def a_changed_type_is_made_anew() -> None:
    mappers.make_alone()
    maker, kind = indexer.ResourceClassMapper(), Type()
    first = maker.get_classes(kind)
    assert maker.get_classes(kind) is first
    kind.updated_at += datetime.timedelta(seconds=1)
    assert maker.get_classes(kind) is not first


def nobody_waits_for_ever() -> None:
    """Who is in a session and waits for somebody in another one goes on after a while."""
    mappers.PATIENCE = 0.3
    gate, entered, done = mappers.Gate(), threading.Event(), threading.Event()

    def stay() -> None:
        with gate.session():
            entered.set()
            done.wait(30)

    other = threading.Thread(target=stay)
    other.start()
    assert entered.wait(10)
    with gate.session(), gate.making(), gate.session():
        done.set()
    other.join(10)
    assert not other.is_alive()
    with gate.making(), gate.session():
        pass


if __name__ == "__main__":
    globals()[sys.argv[1]]()
