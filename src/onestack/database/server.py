"""The cloud's database server as its administrator sees it: over the unix socket, as root."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from onestack.model.context import Context
from onestack.model.errors import NotRunning, OnestackError

OWN = "onestack"
"""Our own database, with what must survive a kill."""
MARKS = "schema_in_progress"
KEYS = "foreign_keys"
"""Those of databases that are widened just now, see `widening`."""
_NO_SUCH = (1049, 1146)  # no such database, no such table
_DENIED = (1044, 1045, 1698)


_EVERYTHING = "ALL PRIVILEGES ON *.*"


@dataclass(frozen=True)
class Account:
    """What the server says of an account: how it logs in, and what it may do."""

    text: str

    @property
    def has_password(self) -> bool:
        return bool(re.search(r"\*[0-9A-F]{40}", self.text))

    def may_do_everything(self, password: str) -> bool:
        """With this password, too."""
        return _kept(password) in self.text and _EVERYTHING in self.text


@dataclass(frozen=True)
class Server:
    """Each call opens a connection of its own: steps run in threads."""

    socket: Path

    @contextmanager
    def session(
        self, user: str = "root", password: str = "", database: str | None = None
    ) -> Iterator[pymysql.connections.Connection[pymysql.cursors.Cursor]]:
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            # On a unix socket; the driver would read all of the system's CAs each time.
            ssl_disabled=True,
            connect_timeout=10,
            read_timeout=120,
            write_timeout=120,
        )
        try:
            yield connection
        finally:
            connection.close()

    def query(
        self, sql: str, arguments: tuple[Any, ...] = (), database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows. Raises `OnestackError` with the server's words, never with ``arguments``.

        ``%`` is itself in a statement without arguments.
        """
        try:
            with self.session(database=database) as connection, connection.cursor() as cursor:
                cursor.execute(sql, arguments or None)
                return list(cursor.fetchall())
        except pymysql.err.MySQLError as error:
            raise self.explained(error) from None

    def explained(self, error: pymysql.err.MySQLError) -> OnestackError:
        number = error.args[0] if error.args else 0
        said = str(error.args[-1]) if error.args else type(error).__name__
        if number in (2002, 2003, 2006, 2013):
            return NotRunning(
                "the database server does not answer",
                said,
                "see onestack status and onestack logs mariadb, then run up again",
            )
        return OnestackError("the database server refused", said, "see onestack logs mariadb")

    def number(self, sql: str, arguments: tuple[Any, ...] = (), database: str | None = None) -> int:
        """What a statement counts. Raises as `query`."""
        ((found,),) = self.query(sql, arguments, database)
        return int(found)

    def transaction(
        self, statements: Iterable[tuple[str, tuple[Any, ...]]], database: str | None = None
    ) -> None:
        """All of ``statements`` or none. Raises as `query`."""
        try:
            with self.session(database=database) as connection, connection.cursor() as cursor:
                connection.begin()
                for sql, arguments in statements:
                    cursor.execute(sql, arguments or None)
                connection.commit()
        except pymysql.err.MySQLError as error:
            raise self.explained(error) from None

    def exists(self, database: str) -> bool:
        sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
        return bool(self.query(sql, (database,)))

    def tables(self, database: str) -> set[str]:
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        return {str(row[0]) for row in self.query(sql, (database,))}

    def revisions(self, database: str, table: str = "alembic_version") -> set[str]:
        """What ``table`` holds; nothing when there is no such table or database."""
        if table not in self.tables(database):
            return set()
        rows = self.query(f"SELECT version_num FROM `{database}`.`{table}`")
        return {str(row[0]) for row in rows}

    def lets_in(self, user: str, password: str, database: str) -> bool:
        """Whether the user may work in the database with this password."""
        known = "SELECT 1 FROM mysql.user WHERE User = %s AND Host = 'localhost'"
        if not self.query(known, (user,)):
            return False  # without a refused login in the server's log
        try:
            with self.session(user, password, database):
                return True
        except pymysql.err.OperationalError as error:
            if error.args[0] in _DENIED + _NO_SUCH:
                return False
            raise self.explained(error) from None

    def create(self, database: str) -> None:
        if not self.exists(database):
            self.forget_keys(database)
        self.query(
            f"CREATE DATABASE IF NOT EXISTS `{database}`"
            " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        )

    def drop(self, database: str) -> None:
        self.query(f"DROP DATABASE IF EXISTS `{database}`")
        self.forget_keys(database)

    def forget_keys(self, database: str) -> None:
        """What was written down of its foreign keys: they are there, or it is gone."""
        if KEYS in self.tables(OWN):
            self.query(f"DELETE FROM `{OWN}`.{KEYS} WHERE place = %s", (database,))

    def users(self) -> set[str]:
        """Those made by `grant`."""
        rows = self.query("SELECT User FROM mysql.user WHERE Host = 'localhost'")
        return {str(row[0]) for row in rows}

    def drop_user(self, user: str) -> None:
        self.query(f"DROP USER IF EXISTS `{user}`@localhost")

    def drop_tables(self, database: str, tables: Iterable[str]) -> None:
        """These together, one after the other, whatever refers to them."""
        if names := ", ".join(f"`{database}`.`{table}`" for table in tables):
            # for this statement alone: each query has a session of its own
            self.query(f"SET STATEMENT foreign_key_checks = 0 FOR DROP TABLE IF EXISTS {names}")

    def grant(self, user: str, password: str, database: str) -> None:
        """The user, with this password, and all rights in the database."""
        self.query(f"CREATE USER IF NOT EXISTS `{user}`@localhost IDENTIFIED BY %s", (password,))
        self.query(f"ALTER USER `{user}`@localhost IDENTIFIED BY %s", (password,))
        self.query(f"GRANT ALL PRIVILEGES ON `{database}`.* TO `{user}`@localhost")

    def account(self, user: str) -> Account:
        """Empty where there is no such user."""
        if user not in self.users():
            return Account("")
        shown = [
            *self.query("SHOW CREATE USER %s@'localhost'", (user,)),
            *self.query("SHOW GRANTS FOR %s@'localhost'", (user,)),
        ]
        return Account("\n".join(str(row[0]) for row in shown))

    def make_administrator(self, user: str, password: str) -> None:
        """``user`` may do everything with this password; unix user root as root without."""
        way = "mysql_native_password USING %s"
        if user == "root":
            way = f"unix_socket OR {way}"
        who = (user, _kept(password))
        self.query(f"CREATE USER IF NOT EXISTS %s@'localhost' IDENTIFIED VIA {way}", who)
        self.query(f"ALTER USER %s@'localhost' IDENTIFIED VIA {way}", who)
        self.query(f"GRANT {_EVERYTHING} TO %s@'localhost' WITH GRANT OPTION", (user,))

    def take_roots_password(self) -> None:
        """Unix user root comes in as root, and nobody else."""
        self.query("ALTER USER root@'localhost' IDENTIFIED VIA unix_socket")

    def marked(self, database: str) -> bool:
        """Whether the first migration of the database was begun and never ended."""
        if MARKS not in self.tables(OWN):
            return False
        return bool(self.query(f"SELECT 1 FROM `{OWN}`.{MARKS} WHERE name = %s", (database,)))

    def mark(self, database: str, tables: Iterable[str]) -> None:
        """``tables`` are there before, and none of its own."""
        self.query(f"CREATE DATABASE IF NOT EXISTS `{OWN}`")
        columns = "name VARCHAR(64) PRIMARY KEY, present LONGTEXT"
        self.query(f"CREATE TABLE IF NOT EXISTS `{OWN}`.{MARKS} ({columns})")
        # The database's own format, which patches of files cannot reach: an older program
        # made the table with the name alone.
        self.query(f"ALTER TABLE `{OWN}`.{MARKS} ADD COLUMN IF NOT EXISTS present LONGTEXT")
        present = json.dumps(sorted(tables))
        self.query(f"INSERT IGNORE INTO `{OWN}`.{MARKS} VALUES (%s, %s)", (database, present))

    def before(self, database: str) -> set[str]:
        """What `mark` was told; an older program's mark is of a database of its own, then empty."""
        sql = f"SELECT present FROM `{OWN}`.{MARKS} WHERE name = %s"
        rows = self.query(sql, (database,))
        return {table for (present,) in rows if present for table in json.loads(present)}

    def unmark(self, database: str) -> None:
        self.query(f"DELETE FROM `{OWN}`.{MARKS} WHERE name = %s", (database,))


def server_of(ctx: Context) -> Server:
    """The cloud's own."""
    socket = ctx.at("database").socket
    assert socket, "the database is asked through its socket, as unix user root"
    return Server(socket)


def _kept(password: str) -> str:
    """As the server keeps it: the plain one appears in no statement."""
    once = hashlib.sha1(password.encode()).digest()
    return f"*{hashlib.sha1(once).hexdigest().upper()}"
