"""Database steps against a server that lives here: first migrations, kills, dumps, upgrades."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from onestack.database import dumps, server, widening
from onestack.database.schemas import Schemas
from onestack.host.command import CommandFailed, CommandResult
from onestack.model.change import Change
from onestack.model.declarations import Database
from onestack.model.errors import OnestackError


class Killed(Exception):
    """Stands for kill -9."""


class Server(server.Server):
    """A server in memory."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))
        self.databases: dict[str, dict[str, set[str]]] = {}  # name -> tables -> revisions
        self.let_in: set[tuple[str, str, str]] = set()
        self.marks: dict[str, set[str]] = {}
        self.narrow: set[str] = set()

    def query(
        self, sql: str, arguments: tuple[Any, ...] = (), database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Which tables are narrow."""
        assert "information_schema" in sql
        return [("old",)] if arguments[0] in self.narrow else []

    def exists(self, database: str) -> bool:
        return database in self.databases

    def tables(self, database: str) -> set[str]:
        return set(self.databases.get(database, {}))

    def revisions(self, database: str, table: str = "alembic_version") -> set[str]:
        return self.databases.get(database, {}).get(table, set())

    def lets_in(self, user: str, password: str, database: str) -> bool:
        return (user, password, database) in self.let_in and self.exists(database)

    def create(self, database: str) -> None:
        self.databases.setdefault(database, {})

    def drop(self, database: str) -> None:
        self.databases.pop(database)

    def drop_tables(self, database: str, tables: Iterable[str]) -> None:
        for table in tables:
            del self.databases[database][table]

    def grant(self, user: str, password: str, database: str) -> None:
        self.let_in.add((user, password, database))

    def marked(self, database: str) -> bool:
        return database in self.marks

    def mark(self, database: str, tables: Iterable[str]) -> None:
        self.marks.setdefault(database, set(tables))

    def before(self, database: str) -> set[str]:
        return self.marks[database]

    def unmark(self, database: str) -> None:
        self.marks.pop(database, None)


class Dumps(dumps.Dumps):
    """Dumps in memory."""

    def __init__(self, server: Server) -> None:
        super().__init__(Path("/nonexistent"), Path("/nonexistent"))
        self.server = server
        self.kept: dict[str, dict[str, set[str]]] = {}
        self.broken = False
        self.secret = False

    def has(self, database: str) -> bool:
        return database in self.kept

    def take(
        self, database: str, secrets: Iterable[str], place: str = "", tables: Iterable[str] = ()
    ) -> bool:
        assert database in self.server.marks  # nobody uses it yet
        if not self.secret:
            now = self.server.databases[place]
            self.kept[database] = {t: now[t] for t in set(tables) or now}
        return not self.secret

    def restore(self, database: str, place: str = "") -> None:
        kept = self.kept[database]
        self.server.databases[place].update({"half": set()} if self.broken else kept)
        if self.broken:
            raise CommandFailed(CommandResult(("mariadb",), 1, "", "syntax", 0.0), "exit code 1")

    def forget(self, database: str) -> None:
        del self.kept[database]


class Cloud:
    def __init__(self, tmp_path: Path) -> None:
        versions = tmp_path / "glance" / "versions"
        versions.mkdir(parents=True)
        (versions / "a.py").write_text("revision = 'a'\ndown_revision = None\n")
        (versions / "b.py").write_text("revision = 'b'\ndown_revision = 'a'\n")
        self.server = Server()
        self.dumps = Dumps(self.server)
        self.told: list[str] = []
        self.jobs: list[dict[str, Any]] = []
        self.at_work = False
        self.during: Callable[[], None] = lambda: None
        self.reaches = {"b"}
        self.database = Database(
            "glance", "glance", "module:sync", ("glance/versions",), (Path("/etc/glance.conf"),)
        )
        self.schemas = Schemas(
            self.server,
            self.dumps,
            tmp_path,
            lambda: frozenset({"pw"}),
            self.told.append,
        )

    def __call__(self, run: str, arguments: dict[str, Any]) -> None:
        assert run == "module:sync"
        self.jobs.append(arguments)
        tables = self.server.databases[self.database.place]
        tables[f"some of {self.database.name}"] = set()
        self.during()
        tables[self.database.table] = set(self.reaches)

    def running(self) -> bool:
        return self.at_work

    def up(self, password: str = "pw") -> list[str]:
        made = []
        quiet = Change("nobody works in it", lambda: None)
        for change in self.schemas.ensure(self.database, password, self, lambda: (quiet,)):
            change.do()
            made.append(change.what)
        return made


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


VERSION = "alembic_version"
KEPT = {"some of glance": set(), VERSION: {"b"}}
FIRST = [
    "make the database glance",
    "let the user glance into the database glance",
    "migrate the empty database glance",
]


def test_from_nothing(cloud: Cloud) -> None:
    assert cloud.up() == FIRST
    assert cloud.jobs == [{"database": "glance", "config": ["/etc/glance.conf"]}]
    assert cloud.server.marks == {}
    assert cloud.dumps.kept == {"glance": KEPT}
    assert cloud.up() == []


def test_another_password(cloud: Cloud) -> None:
    cloud.up()
    assert cloud.up("new") == ["let the user glance into the database glance"]
    assert cloud.up("new") == []


def test_a_first_migration_that_was_killed_is_begun_anew(cloud: Cloud) -> None:
    def die() -> None:
        raise Killed

    cloud.during = die
    with pytest.raises(Killed):
        cloud.up()
    assert set(cloud.server.marks) == {"glance"}
    cloud.during = lambda: None
    assert cloud.up() == [
        "drop the database glance: its first migration was interrupted",
        "make the database glance",
        "migrate the empty database glance",
    ]
    assert cloud.up() == []


def test_killed_between_migration_and_mark(cloud: Cloud) -> None:
    """Current by its revisions, and still not trusted."""
    cloud.up()
    cloud.server.mark("glance", set())
    cloud.dumps.kept.clear()
    assert cloud.up()[0].startswith("drop the database glance")
    assert cloud.up() == []


def test_the_job_of_a_killed_run_is_waited_for(cloud: Cloud) -> None:
    """The supervisor goes on with it: dropping the database under it would break both."""
    cloud.up()
    cloud.server.mark("glance", set())
    cloud.server.databases["glance"][VERSION] = {"a"}
    cloud.at_work = True
    assert cloud.up() == ["wait for the migration of glance that an interrupted run began"]
    assert cloud.server.marks == {}
    cloud.at_work = False
    assert cloud.up() == []


def test_a_kept_schema_is_restored(cloud: Cloud) -> None:
    cloud.dumps.kept["glance"] = {VERSION: {"b"}}
    assert cloud.up()[-1] == "restore the schema of glance, migrated before on this machine"
    assert cloud.jobs == []
    assert cloud.server.marks == {}
    assert cloud.up() == []


@pytest.mark.parametrize("broken", [True, False])
def test_a_kept_schema_of_no_use_gives_way_to_the_migrations(cloud: Cloud, broken: bool) -> None:
    cloud.dumps.kept["glance"] = {VERSION: {"a"}}
    cloud.dumps.broken = broken
    cloud.up()
    assert len(cloud.jobs) == 1
    assert "is of no use" in cloud.told[0]
    assert cloud.dumps.kept == {"glance": KEPT}
    assert cloud.up() == []


def test_a_schema_with_secrets_is_not_kept(cloud: Cloud) -> None:
    cloud.dumps.secret = True
    cloud.up()
    assert "holds secrets" in cloud.told[0]
    assert cloud.up() == []


def test_an_older_schema_with_contents_is_migrated_and_never_dropped(cloud: Cloud) -> None:
    cloud.up()
    cloud.server.databases["glance"][VERSION] = {"a"}

    def die() -> None:
        raise Killed

    cloud.during = die
    with pytest.raises(Killed):
        cloud.up()
    assert cloud.server.marks == {}
    cloud.during = lambda: None
    assert cloud.up() == ["migrate the database glance to b"]


def test_a_migration_that_ends_short_of_the_heads(cloud: Cloud) -> None:
    cloud.reaches = {"a"}
    with pytest.raises(OnestackError, match="did not reach the release's schema") as caught:
        cloud.up()
    assert "it is at a, wanted is b" in caught.value.why
    assert cloud.dumps.kept == {}


def test_a_release_without_version_files(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "glance" / "versions" / "a.py").unlink()
    (tmp_path / "glance" / "versions" / "b.py").unlink()
    with pytest.raises(OnestackError, match="no migrations of the database glance"):
        cloud.up()


@pytest.fixture
def part(cloud: Cloud) -> Cloud:
    """Tables with migrations of their own in the database of another project."""
    cloud.database = Database(
        "glance_more",
        "glance",
        "module:sync",
        ("glance/versions",),
        within="glance",
        table="alembic_version_more",
    )
    cloud.server.databases["glance"] = {VERSION: {"other"}, "images": set()}
    cloud.server.grant("glance", "pw", "glance")
    return cloud


MORE = {"some of glance_more": set(), "alembic_version_more": {"b"}}
HOST = {VERSION: {"other"}, "images": set()}


def test_tables_within_another_database(part: Cloud) -> None:
    assert part.up() == ["migrate the empty database glance_more"]
    assert part.server.databases == {"glance": HOST | MORE}
    assert part.dumps.kept == {"glance_more": MORE}
    assert part.up() == []


def test_tables_within_are_restored_beside_the_others(part: Cloud) -> None:
    part.dumps.kept["glance_more"] = dict(MORE)
    assert part.up() == ["restore the schema of glance_more, migrated before on this machine"]
    assert part.server.databases == {"glance": HOST | MORE}
    assert part.up() == []


def test_a_broken_dump_of_tables_within_leaves_the_others(part: Cloud) -> None:
    part.dumps.kept["glance_more"] = dict(MORE)
    part.dumps.broken = True
    part.up()
    assert part.server.databases == {"glance": HOST | MORE}
    assert part.dumps.kept == {"glance_more": MORE}


def test_a_killed_first_migration_of_tables_within_takes_only_them(part: Cloud) -> None:
    def die() -> None:
        raise Killed

    part.during = die
    with pytest.raises(Killed):
        part.up()
    part.during = lambda: None
    assert part.up() == [
        "drop the tables of glance_more: its first migration was interrupted",
        "migrate the empty database glance_more",
    ]
    assert part.server.databases == {"glance": HOST | MORE}
    assert part.up() == []


def test_older_tables_within_are_migrated(part: Cloud) -> None:
    part.up()
    part.server.databases["glance"]["alembic_version_more"] = {"a"}
    assert part.up() == ["migrate the database glance_more to b"]


WIDENED = "let the database glance hold every character, emoji too"


@pytest.fixture
def narrow(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An older program's, at the release's heads."""

    def widen(server: Server, place: str, tell: object) -> None:
        server.narrow.remove(place)

    cloud.up()
    cloud.server.narrow.add("glance")
    monkeypatch.setattr(widening, "widen", widen)
    return cloud


def test_an_older_clouds_database_is_widened(narrow: Cloud) -> None:
    assert narrow.up() == ["nobody works in it", WIDENED]
    assert narrow.up() == []


def test_it_is_widened_before_it_is_migrated(narrow: Cloud) -> None:
    """A new table's key refers to a column of the same characters, or is refused."""
    narrow.server.databases["glance"][VERSION] = {"a"}
    wide: list[bool] = []
    narrow.during = lambda: wide.append(not narrow.server.narrow)
    made = narrow.up()
    assert made == ["nobody works in it", WIDENED, "migrate the database glance to b"]
    assert wide == [True]


def test_what_a_migration_works_on_is_widened_later(narrow: Cloud) -> None:
    narrow.server.databases["glance"][VERSION] = {"a"}
    narrow.at_work = True
    migrated = "migrate the database glance to b"
    assert narrow.up() == [migrated, "nobody works in it", WIDENED]


def test_what_is_made_anew_is_not_widened(narrow: Cloud) -> None:
    narrow.server.mark("glance", set())

    def drop(database: str) -> None:
        narrow.server.narrow.discard(database)
        del narrow.server.databases[database]

    narrow.server.drop = drop  # type: ignore[method-assign]
    assert WIDENED not in narrow.up()
    assert narrow.up() == []
