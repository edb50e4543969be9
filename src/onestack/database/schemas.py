"""Databases: made, their user let in, their schema at the release's heads.

MariaDB's DDL is not transactional: a first migration killed half way cannot
be continued. So a mark is kept in the server from before it until after it;
a database found with the mark is dropped and made anew. Of one that is only
some tables within another database, the mark tells which tables were there
before; all others are its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onestack.database import widening
from onestack.database.dumps import Dumps
from onestack.database.revisions import heads
from onestack.database.server import Server
from onestack.host.command import CommandFailed
from onestack.host.locks import Tell, silent
from onestack.model.change import Change
from onestack.model.declarations import Database
from onestack.model.errors import OnestackError


class MigrationJob(Protocol):
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

    def ensure(
        self,
        database: Database,
        password: str,
        job: MigrationJob,
        quiet: Callable[[], Iterable[Change]] = tuple,
    ) -> Iterator[Change]:
        """The database, its user, and its schema. ``quiet``: nobody works in it."""
        place = database.place
        # Before it is migrated: a key of a new table's to a narrow column would be refused. What
        # a migration works on, and what is made anew, comes later.
        narrow = widening.is_narrow(self.server, place)
        later = narrow and (self.server.marked(database.name) or job.running())
        if narrow and not later:
            yield from self._widen(database, quiet)
        yield from self._ensure_schema(database, password, job)
        if later and widening.is_narrow(self.server, place):
            yield from self._widen(database, quiet)

    def _widen(self, database: Database, quiet: Callable[[], Iterable[Change]]) -> Iterator[Change]:
        yield from quiet()
        yield Change(
            f"let the database {database.name} hold every character, emoji too",
            lambda: widening.widen(self.server, database.place, self.tell),
        )

    def _ensure_schema(
        self, database: Database, password: str, job: MigrationJob
    ) -> Iterator[Change]:
        name, place, server = database.name, database.place, self.server
        wanted = self.wanted(database)
        if server.exists(place) and server.marked(name) and job.running():
            yield Change(
                f"wait for the migration of {name} that an interrupted run began",
                lambda: self._finish(database, wanted, job),
            )
        if server.exists(place) and server.marked(name):
            what = f"the tables of {name}" if database.within else f"the database {name}"
            yield Change(
                f"drop {what}: its first migration was interrupted", lambda: self._clear(database)
            )
        if not server.exists(place):
            yield Change(f"make the database {place}", lambda: server.create(place))
        if not server.lets_in(database.user, password, place):
            yield Change(
                f"let the user {database.user} into the database {place}",
                lambda: server.grant(database.user, password, place),
            )
        present = server.revisions(place, database.table)
        if present == wanted and not server.marked(name):
            return
        tables = server.tables(place)
        if database.table in tables or (tables and not database.within):
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
            self.server.mark(database.name, self.server.tables(database.place))
        fill()
        self.server.unmark(database.name)

    def _made(self, database: Database) -> set[str]:
        """The tables of a marked database."""
        return self.server.tables(database.place) - self.server.before(database.name)

    def _clear(self, database: Database) -> None:
        """Undo what there is of a first migration."""
        if database.within:
            self.server.drop_tables(database.place, sorted(self._made(database)))
        else:
            self.server.drop(database.place)

    def _migrate(self, database: Database, wanted: set[str], job: MigrationJob) -> None:
        arguments = {"database": database.name, "config": [str(p) for p in database.config]}
        job(database.sync, arguments)
        present = self.server.revisions(database.place, database.table)
        if present != wanted:
            raise OnestackError(
                f"the migration of {database.name} did not reach the release's schema",
                f"it is at {_list(present)}, wanted is {_list(wanted)}",
                f"see ROOT/log for the log of the migration of {database.name}",
            )

    def _migrate_empty(self, database: Database, wanted: set[str], job: MigrationJob) -> None:
        self._migrate(database, wanted, job)
        tables = self._made(database) if database.within else ()
        if not self.dumps.take(database.name, self.secrets(), database.place, tables):
            self.tell(f"the schema of {database.name} is not kept: it holds secrets")

    def _finish(self, database: Database, wanted: set[str], job: MigrationJob) -> None:
        self._migrate_empty(database, wanted, job)
        self.server.unmark(database.name)

    def _restore(self, database: Database, wanted: set[str], job: MigrationJob) -> None:
        """A dump that does not fit (another server's, damaged) is given up for the real thing."""
        try:
            self.dumps.restore(database.name, database.place)
            present = self.server.revisions(database.place, database.table)
            problem = "" if present == wanted else "it is not current"
        except CommandFailed as error:
            problem = error.why
        if problem:
            self.tell(f"the kept schema of {database.name} is of no use ({problem}): migrating")
            self.dumps.forget(database.name)
            self._clear(database)
            self.server.create(database.place)
            self._migrate_empty(database, wanted, job)


def _list(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "nothing"
