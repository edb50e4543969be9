"""Databases: made, their user let in, their schema at the release's heads.

MariaDB's DDL is not transactional: a first migration killed half way cannot
be continued. So a mark is kept in the server from before it until after it;
a database found with the mark is dropped and made anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onestack.components.base import Database
from onestack.errors import OnestackError
from onestack.host.change import Change
from onestack.host.command import CommandFailed
from onestack.host.locks import Tell, silent
from onestack.plan.dumps import Dumps
from onestack.plan.mariadb import Server
from onestack.plan.revisions import heads


class Job(Protocol):
    """Runs a database's migrations in a process of their own, which outlives a killed run."""

    def __call__(self, run: str, arguments: dict[str, Any]) -> None:
        """``module:function`` to its end, or to that of the same one at work already.

        Raises `OnestackError`.
        """

    def running(self) -> bool:
        """Whether it is at work now."""


@dataclass(frozen=True)
class Schemas:
    """What all database steps of a cloud share."""

    server: Server
    dumps: Dumps
    site_packages: Path
    secrets: Callable[[], frozenset[str]]
    """The secret values in use."""
    tell: Tell = silent
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def wanted(self, database: Database) -> set[str]:
        """The heads of the release. Raises `OnestackError` when it has no version files."""
        folders = [self.site_packages / name for name in database.versions]
        if found := heads(folders):
            return found
        raise OnestackError(
            f"the release has no migrations of the database {database.name}",
            f"no version files in {', '.join(map(str, folders))}",
            "run the same command again; if it fails again, the release is not whole: "
            "onestack destroy removes it",
        )

    def ensure(self, database: Database, password: str, job: Job) -> Iterator[Change]:
        """The database, its user, and its schema."""
        name, server = database.name, self.server
        wanted = self.wanted(database)
        if server.exists(name) and server.marked(name) and job.running():
            yield Change(
                f"wait for the migration of {name} that an interrupted run began",
                lambda: self._finish(database, wanted, job),
            )
        if server.exists(name) and server.marked(name):
            yield Change(
                f"drop the database {name}: its first migration was interrupted",
                lambda: server.drop(name),
            )
        if not server.exists(name):
            yield Change(f"make the database {name}", lambda: server.create(name))
        if not server.lets_in(database.user, password, name):
            yield Change(
                f"let the user {database.user} into the database {name}",
                lambda: server.grant(database.user, password, name),
            )
        present = server.revisions(name)
        if present == wanted and not server.marked(name):
            return
        if server.tables(name):
            yield Change(
                f"migrate the database {name} to {', '.join(sorted(wanted))}",
                lambda: self._migrate(database, wanted, job),
            )
        elif self.dumps.has(name):
            yield Change(
                f"restore the schema of {name}, migrated before on this machine",
                lambda: self._first(database, lambda: self._restore(database, wanted, job)),
            )
        else:
            yield Change(
                f"migrate the empty database {name}",
                lambda: self._first(database, lambda: self._migrate_empty(database, wanted, job)),
            )

    def _first(self, database: Database, fill: Callable[[], None]) -> None:
        with self._lock:  # the mark's own table is made by whoever comes first
            self.server.mark(database.name)
        fill()
        self.server.unmark(database.name)

    def _migrate(self, database: Database, wanted: set[str], job: Job) -> None:
        arguments = {"database": database.name, "config": [str(p) for p in database.config]}
        job(database.sync, arguments)
        present = self.server.revisions(database.name)
        if present != wanted:
            raise OnestackError(
                f"the migration of {database.name} did not reach the release's schema",
                f"it is at {_list(present)}, wanted is {_list(wanted)}",
                f"see ROOT/log for the log of the migration of {database.name}",
            )

    def _migrate_empty(self, database: Database, wanted: set[str], job: Job) -> None:
        self._migrate(database, wanted, job)
        if not self.dumps.take(database.name, self.secrets()):
            self.tell(f"the schema of {database.name} is not kept: it holds secrets")

    def _finish(self, database: Database, wanted: set[str], job: Job) -> None:
        self._migrate_empty(database, wanted, job)
        self.server.unmark(database.name)

    def _restore(self, database: Database, wanted: set[str], job: Job) -> None:
        """A dump that does not fit (another server's, damaged) is given up for the real thing."""
        try:
            self.dumps.restore(database.name)
            problem = "" if self.server.revisions(database.name) == wanted else "it is not current"
        except CommandFailed as error:
            problem = error.why
        if problem:
            self.tell(f"the kept schema of {database.name} is of no use ({problem}): migrating")
            self.dumps.forget(database.name)
            self.server.drop(database.name)
            self.server.create(database.name)
            self._migrate_empty(database, wanted, job)


def _list(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "nothing"
