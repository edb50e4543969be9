"""Database steps against a server that lives here: first migrations, kills, dumps, upgrades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onestack.components.base import Database
from onestack.errors import OnestackError
from onestack.host.command import CommandFailed, Result
from onestack.plan.database import Schemas


class Killed(Exception):
    """Stands for kill -9."""


class Server:
    """What `onestack.plan.mariadb.Server` does, in memory."""

    def __init__(self) -> None:
        self.databases: dict[str, set[str]] = {}  # name -> revisions
        self.filled: set[str] = set()  # with tables
        self.users: set[tuple[str, str, str]] = set()
        self.marks: set[str] = set()

    def exists(self, database: str) -> bool:
        return database in self.databases

    def tables(self, database: str) -> int:
        return int(database in self.filled)

    def revisions(self, database: str) -> set[str]:
        return self.databases.get(database, set())

    def lets_in(self, user: str, password: str, database: str) -> bool:
        return (user, password, database) in self.users and self.exists(database)

    def create(self, database: str) -> None:
        self.databases.setdefault(database, set())

    def drop(self, database: str) -> None:
        self.databases.pop(database)
        self.filled.discard(database)

    def grant(self, user: str, password: str, database: str) -> None:
        self.users.add((user, password, database))

    def marked(self, database: str) -> bool:
        return database in self.marks

    def mark(self, database: str) -> None:
        self.marks.add(database)

    def unmark(self, database: str) -> None:
        self.marks.discard(database)


class Dumps:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.kept: dict[str, set[str]] = {}
        self.broken = False
        self.secret = False

    def has(self, database: str) -> bool:
        return database in self.kept

    def take(self, database: str, secrets: Any) -> bool:
        assert database in self.server.marks  # nobody uses it yet
        if not self.secret:
            self.kept[database] = set(self.server.databases[database])
        return not self.secret

    def restore(self, database: str) -> None:
        self.server.filled.add(database)
        if self.broken:
            raise CommandFailed(Result(("mariadb",), 1, "", "syntax", 0.0), "exit code 1")
        self.server.databases[database] = set(self.kept[database])

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
            self.server,  # type: ignore[arg-type]
            self.dumps,  # type: ignore[arg-type]
            tmp_path,
            lambda: frozenset({"pw"}),
            self.told.append,
        )

    def __call__(self, run: str, arguments: dict[str, Any]) -> None:
        assert run == "module:sync"
        self.jobs.append(arguments)
        self.server.filled.add("glance")
        self.during()
        self.server.databases["glance"] = set(self.reaches)

    def running(self) -> bool:
        return self.at_work

    def up(self, password: str = "pw") -> list[str]:
        made = []
        for change in self.schemas.ensure(self.database, password, self):
            change.do()
            made.append(change.what)
        return made


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


FIRST = [
    "make the database glance",
    "let the user glance into the database glance",
    "migrate the empty database glance",
]


def test_from_nothing(cloud: Cloud) -> None:
    assert cloud.up() == FIRST
    assert cloud.jobs == [{"database": "glance", "config": ["/etc/glance.conf"]}]
    assert cloud.server.marks == set()
    assert cloud.dumps.kept == {"glance": {"b"}}
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
    assert cloud.server.marks == {"glance"}
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
    cloud.server.mark("glance")
    cloud.dumps.kept.clear()
    assert cloud.up()[0].startswith("drop the database glance")
    assert cloud.up() == []


def test_the_job_of_a_killed_run_is_waited_for(cloud: Cloud) -> None:
    """The supervisor goes on with it: dropping the database under it would break both."""
    cloud.up()
    cloud.server.mark("glance")
    cloud.server.databases["glance"] = {"a"}
    cloud.at_work = True
    assert cloud.up() == ["wait for the migration of glance that an interrupted run began"]
    assert cloud.server.marks == set()
    cloud.at_work = False
    assert cloud.up() == []


def test_a_kept_schema_is_restored(cloud: Cloud) -> None:
    cloud.dumps.kept["glance"] = {"b"}
    assert cloud.up()[-1] == "restore the schema of glance, migrated before on this machine"
    assert cloud.jobs == []
    assert cloud.server.marks == set()
    assert cloud.up() == []


@pytest.mark.parametrize("broken", [True, False])
def test_a_kept_schema_of_no_use_gives_way_to_the_migrations(cloud: Cloud, broken: bool) -> None:
    cloud.dumps.kept["glance"] = {"a"}
    cloud.dumps.broken = broken
    cloud.up()
    assert len(cloud.jobs) == 1
    assert "is of no use" in cloud.told[0]
    assert cloud.dumps.kept == {"glance": {"b"}}
    assert cloud.up() == []


def test_a_schema_with_secrets_is_not_kept(cloud: Cloud) -> None:
    cloud.dumps.secret = True
    cloud.up()
    assert "holds secrets" in cloud.told[0]
    assert cloud.up() == []


def test_an_older_schema_with_contents_is_migrated_and_never_dropped(cloud: Cloud) -> None:
    cloud.up()
    cloud.server.databases["glance"] = {"a"}

    def die() -> None:
        raise Killed

    cloud.during = die
    with pytest.raises(Killed):
        cloud.up()
    assert cloud.server.marks == set()
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
