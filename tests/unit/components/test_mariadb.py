"""The database server's room: no way in but root's, durable, whole or made anew."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from pathlib import Path

import pymysql
import pytest

from onestack.components.mariadb import Mariadb, administrator
from onestack.components.mariadb.administrator import ensure_administrator
from onestack.components.mariadb.datadir import install
from onestack.database.server import Server
from onestack.host.command import run
from onestack.kernel import disk
from onestack.model.errors import OnestackError
from onestack.model.process import ConnectProbe
from onestack.supervise.probes.attempt import Attempts
from onestack.supervise.probes.base import ProbeResult
from tests.support.hanging import hanging, listener
from tests.support.mariadb import running
from tests.support.small_disks import fill, make_room, small_disk
from tests.unit.components.rooms import content, context

MARIADB = Mariadb()
installed = pytest.mark.skipif(
    not Path("/usr/sbin/mariadbd").exists() or os.geteuid() != 0,
    reason="needs root and the package mariadb-server-core",
)


def test_it_listens_nowhere_but_on_its_socket(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    text = content(ctx, MARIADB, "mariadb.cnf")
    assert "skip-networking" in text.splitlines()
    assert f"socket = {tmp_path}/run/mariadb/mariadb.sock" in text
    (process,) = MARIADB.processes(ctx)
    assert process.user == "onestack-mariadb"
    assert isinstance(process.probe, ConnectProbe) and process.probe.hear
    assert process.probe.target == f"unix:{tmp_path}/run/mariadb/mariadb.sock"


def test_what_was_committed_is_on_the_disk(tmp_path: Path) -> None:
    lines = content(context(tmp_path), MARIADB, "mariadb.cnf").splitlines()
    assert "innodb_flush_log_at_trx_commit = 1" in lines
    assert "innodb_doublewrite = ON" in lines
    assert not any(
        "innodb_flush_method" in line or "innodb_fast_shutdown" in line for line in lines
    )


def test_a_data_directory_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "data" / "mariadb" / "data").mkdir(parents=True)
    tasks = {task.name: task for task in MARIADB.tasks(context(tmp_path))}
    assert tasks["datadir"].before_start
    assert list(tasks["datadir"].ensure()) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    ctx = context(tmp_path, MARIADB)
    said = ctx.model.likely("mariadb", "Write failed (Errcode: 28 - No space left on device)")
    assert said is not None
    assert "make room" in said


@installed
@pytest.mark.parametrize("mib", [16, 42, 44])
def test_a_disk_that_fills_while_the_contents_are_made(tmp_path: Path, mib: int) -> None:
    """The program ends for itself, waits for ever, or leaves a view unmade, by how full it is."""
    disk = tmp_path / "disk"
    disk.mkdir()
    tmp_path.chmod(0o755)
    run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", disk])
    try:
        with pytest.raises(OnestackError, match="the disk is full") as caught:
            install(disk / "data", "root")
        assert "make room" in caught.value.cure
        assert not (disk / "data").exists()
    finally:
        run(["umount", disk])


def probed(folder: Path) -> ProbeResult:
    (process,) = MARIADB.processes(context(folder))
    assert isinstance(process.probe, ConnectProbe)
    here = dataclasses.replace(process.probe, target=f"unix:{folder}/mariadb.sock")
    return Attempts().try_once(here, 2.0)


@installed
def test_it_starts_where_the_disk_is_not_called_full(tmp_path: Path) -> None:
    """What the supervisor calls full is less room than a start needs: it writes 12 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    tmp_path.chmod(0o755)
    with small_disk(place, 256):
        with running(place):
            pass
        fill(place, left=disk.FULL)
        with running(place):
            assert probed(place).ok
        make_room(place)
        fill(place, left=8 << 20)
        with pytest.raises(AssertionError), running(place):
            pass
        assert "ibtmp1" in (place / "log").read_text()
        make_room(place)
        with running(place):
            assert probed(place).ok


@installed
def test_one_that_takes_no_more_connections_is_not_well(tmp_path: Path) -> None:
    with running(tmp_path) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET GLOBAL max_connections = 10")
        with contextlib.ExitStack() as held:
            for _ in range(15):
                with contextlib.suppress(pymysql.err.OperationalError):
                    more = pymysql.connect(unix_socket=f"{tmp_path}/mariadb.sock", user="root")
                    held.callback(more.close)
            found = probed(tmp_path)
            assert not found.ok and "Too many connections" in found.text
        until = time.monotonic() + 10
        while not probed(tmp_path).ok:
            assert time.monotonic() < until
            time.sleep(0.1)


@installed
def test_one_that_hangs_is_not_well(tmp_path: Path) -> None:
    with running(tmp_path):
        with hanging(listener(tmp_path / "mariadb.sock")):
            found = probed(tmp_path)
            assert not found.ok and "accepts, and says nothing" in found.text
        until = time.monotonic() + 10
        while not probed(tmp_path).ok:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_server_that_ended_is_named_wherever_it_is_missed(tmp_path: Path) -> None:
    ctx = context(tmp_path, MARIADB)
    line = "(2013, 'Lost connection to MySQL server during query')"
    assert "onestack logs mariadb" in (ctx.model.likely("nova", line) or "")
    assert ctx.model.likely("nova", "all is well") is None


@installed
def test_root_comes_in_by_the_socket_and_nobody_else(tmp_path: Path) -> None:
    unfinished = tmp_path / ".data.new"
    unfinished.mkdir()
    (unfinished / "of a killed run").touch()
    with running(tmp_path) as connection:
        assert not unfinished.exists()
        assert probed(tmp_path).ok
        with connection.cursor() as cursor:
            cursor.execute("SELECT user FROM mysql.global_priv ORDER BY user")
            # mariadb.sys owns views and cannot log in
            assert [row[0] for row in cursor] == ["mariadb.sys", "root"]
            cursor.execute("SHOW DATABASES LIKE 'test%'")
            assert cursor.fetchall() == ()
        for user in ("somebody", "mariadb.sys"):
            with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
                pymysql.connect(unix_socket=str(tmp_path / "mariadb.sock"), user=user)


@installed
def test_the_administrator_has_the_password_of_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = str(tmp_path / "mariadb.sock")
    monkeypatch.setattr(administrator, "server_of", lambda ctx: Server(Path(socket)))

    def apply(**given: str) -> list[str]:
        made = list(ensure_administrator(context(tmp_path / "cloud", **given)))
        for change in made:
            change.do()
        return [change.what for change in made]

    def may(user: str, password: str) -> bool:
        try:
            pymysql.connect(unix_socket=socket, user=user, password=password).close()
        except pymysql.err.OperationalError:
            return False
        return True

    def shown() -> str:
        with pymysql.connect(unix_socket=socket, user="root").cursor() as cursor:
            cursor.execute("SHOW CREATE USER root@localhost")
            return "".join(str(row[0]) for row in cursor.fetchall())

    hard = """it's "100%" \\ $x"""
    with running(tmp_path):
        assert apply() == []
        assert apply(CONFIG_MARIADB_PW=hard) == [
            "give the database server's administrator root a password"
        ]
        assert apply(CONFIG_MARIADB_PW=hard) == []
        # The unix user root is not shut out.
        assert may("root", "") and may("root", hard)
        assert len(apply(CONFIG_MARIADB_PW="two")) == 1
        assert Server(Path(socket)).account("root").may_do_everything("two")
        # none is given any more
        assert len(apply()) == 1 and apply() == []
        assert may("root", "") and "*" not in shown()
        named = {"CONFIG_MARIADB_USER": "boss", "CONFIG_DEFAULT_PASSWORD": "one"}
        assert len(apply(**named)) == 1 and apply(**named) == []
        assert may("boss", "one") and not may("boss", "") and not may("boss", "two")
        assert len(apply(**named, CONFIG_MARIADB_PW="two")) == 1
        assert may("boss", "two") and not may("boss", "one")
        with pymysql.connect(unix_socket=socket, user="boss", password="two").cursor() as cursor:
            cursor.execute("CREATE DATABASE anything")


@pytest.mark.parametrize("name", ["nova", "placement", "octavia", "mysql", "a b", "x" * 33])
def test_the_administrator_is_no_service(name: str) -> None:
    (key,) = (key for key in MARIADB.keys if key.name == "CONFIG_MARIADB_USER")
    assert key.check is not None and key.check(name)


@installed
def test_another_server_that_starts_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server begins with the removal of all temporary tables in its folder for them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    anothers = shared / "#sql-temptable-1-2-3.MAI"
    anothers.touch()
    monkeypatch.setenv("TMPDIR", str(shared))
    tmp_path.chmod(0o755)
    install(tmp_path / "data", "root")
    assert anothers.exists()
