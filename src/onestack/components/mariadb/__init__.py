"""MariaDB, a private server of the cloud: unix socket only, small, durable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.registry import registry
from onestack.components.mariadb.datadir import install
from onestack.database.places import data_directory
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Directory, KnownError, Scope, Task
from onestack.model.key import Class, Key, Kind
from onestack.model.process import ConnectProbe, Process
from onestack.model.secret import Secret


def _wrong_name(text: str) -> str | None:
    if not re.fullmatch(r"\w{1,32}", text):
        return "use up to 32 letters, digits and _"
    owners = {name.removesuffix("_db") for name in registry().secrets if name.endswith("_db")}
    if text in owners | {"mysql"}:
        return "a service has an account of that name; choose another"
    return None


class Mariadb(Component):
    name = "mariadb"
    title = "MariaDB"
    provides = (Capability("database", ("mariadb",), socket="mariadb/mariadb.sock"),)
    keys = (
        Key(
            "CONFIG_MARIADB_INSTALL",
            "y",
            "Run a database server of the cloud's own.",
            Kind.FLAG,
            outcome=Class.REFUSED,
            note="the cloud always has a MariaDB of its own, on a unix socket; set it to y",
        ),
        Key(
            "CONFIG_MARIADB_USER",
            "root",
            "Name of the database server's administrator. The unix user root needs no password in "
            "any case; another name is an account beside it.",
            check=_wrong_name,
        ),
        Key(
            "CONFIG_MARIADB_PW",
            "PW_PLACEHOLDER",
            "Password with which the administrator may log in too, at the server's socket. Not "
            "given: root has none, and comes in as unix user root only.",
            Kind.SECRET,
        ),
    )
    known_errors = (
        KnownError(
            "No space left on device|Errcode: 28",
            "the disk with {data} is full",
            "make room, then run up again",
            everywhere=True,
        ),
        KnownError(
            "Lost connection to MySQL server|Can't connect to MySQL server",
            "the database server ended meanwhile, or was restarted",
            "`onestack logs mariadb` says why; run up again",
            everywhere=True,
        ),
        KnownError(
            r"(?s)\A(?=.*Unable to lock)(?=.*ibdata1)",
            "another mariadbd still has this data directory",
            "`onestack down`, then up",
        ),
    )
    secrets = (Secret("mariadb", "CONFIG_MARIADB_PW"),)

    def packages(self, ctx: Context) -> Iterable[str]:
        # not mariadb-server, which makes a system-wide database and starts it
        return ("mariadb-server-core", "mariadb-client-core")

    def started(self, ctx: Context) -> Iterable[str]:
        # The server itself leaves its profile; mariadb-install-db starts it before that.
        if not data_directory(ctx.cloud).is_dir():
            yield "mariadbd"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(data_directory(ctx.cloud).parent, user, user, 0o700)
        # services of other users pass through to the socket, which asks for a password
        yield Directory(ctx.cloud.run / self.name, user, user, 0o755)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(self._config(ctx), self._text(ctx), ctx.cloud.user(self.name))

    def processes(self, ctx: Context) -> Iterable[Process]:
        socket = ctx.cloud.run / self.name / "mariadb.sock"
        config = self._config(ctx)
        yield Process(
            name="mariadb",
            component=self.name,
            user=ctx.cloud.user(self.name),
            argv=("/usr/sbin/mariadbd", f"--defaults-file={config}"),
            env={"MALLOC_ARENA_MAX": "1"},
            files=(str(config),),
            # its greeting names how to log in; one that is full greets with an error
            probe=ConnectProbe(f"unix:{socket}", hear="mysql_native_password"),
            stop_seconds=60.0,
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.mariadb.administrator import ensure_administrator

        yield Task("datadir", lambda: self._ensure_data(ctx), ("users",), before_start=True)
        yield Task(
            "administrator",
            lambda: ensure_administrator(ctx),
            ("process:mariadb",),
            scope=Scope.CLOUD,
        )

    def _ensure_data(self, ctx: Context) -> Iterator[Change]:
        data = data_directory(ctx.cloud)
        if not data.is_dir():
            user = ctx.cloud.user(self.name)
            yield Change("make the database server's first contents", lambda: install(data, user))

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "mariadb" / "mariadb.cnf"

    def _text(self, ctx: Context) -> str:
        run = ctx.cloud.run / self.name
        return f"""[mariadbd]
datadir = {data_directory(ctx.cloud)}
socket = {run}/mariadb.sock
pid-file = {run}/mariadb.pid
tmpdir = {data_directory(ctx.cloud).parent}
skip-networking
skip-name-resolve
skip-log-bin
character-set-server = utf8mb4
collation-server = utf8mb4_general_ci
# what upstream's migrations call utf8 is all of it, emoji too
old_mode =
max_connections = 500
# no line for each client that goes without a word, such as the supervisor's probe
log_warnings = 1

# Durable: a commit that was answered survives a power cut.
innodb_flush_log_at_trx_commit = 1
innodb_doublewrite = ON

# Small: a cloud's databases are some 30 MiB.
performance_schema = OFF
innodb_buffer_pool_size = 24M
innodb_log_buffer_size = 4M
innodb_log_file_size = 16M
innodb_stats_persistent = OFF
key_buffer_size = 256K
aria_pagecache_buffer_size = 1M
query_cache_size = 0
# a table kept open takes some 60 KB; 400 definitions are the least there is
table_open_cache = 160
table_definition_cache = 400
innodb_read_io_threads = 1
innodb_write_io_threads = 1
innodb_purge_threads = 1
table_open_cache_instances = 1
thread_stack = 256K
thread_cache_size = 16
join_buffer_size = 64K
sort_buffer_size = 256K
host_cache_size = 0
"""
