"""What is kept in the server itself while a first migration runs."""

from __future__ import annotations

import pytest

from onestack.database.server import MARKS, OWN, Server
from tests.support.mariadb import installed as needs_mariadb
from tests.support.mariadb import running
from tests.support.needs import needs_root

pytestmark = [needs_mariadb, needs_root]


def test_marks(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("marks")
    folder.parent.chmod(0o755)
    with running(folder):
        server = Server(folder / "mariadb.sock")
        assert not server.marked("neutron_fwaas")
        server.mark("neutron_fwaas", {"ports", "networks"})
        # of the run that was killed: there are more tables by now
        server.mark("neutron_fwaas", {"ports", "networks", "firewalls"})
        assert server.marked("neutron_fwaas") and not server.marked("nova")
        assert server.before("neutron_fwaas") == {"ports", "networks"}
        server.unmark("neutron_fwaas")
        assert not server.marked("neutron_fwaas")


def test_the_table_of_marks_that_an_older_program_made(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("marks")
    folder.parent.chmod(0o755)
    with running(folder):
        server = Server(folder / "mariadb.sock")
        server.query(f"CREATE DATABASE `{OWN}`")
        server.query(f"CREATE TABLE `{OWN}`.{MARKS} (name VARCHAR(64) PRIMARY KEY)")
        server.query(f"INSERT INTO `{OWN}`.{MARKS} VALUES ('nova')")  # by a run that was killed
        server.mark("heat", {"stacks"})
        assert server.before("heat") == {"stacks"}
        server.mark("nova", set())
        assert server.marked("nova") and server.before("nova") == set()


def test_percent_is_itself_where_nothing_is_put_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("marks")
    folder.parent.chmod(0o755)
    with running(folder):
        server = Server(folder / "mariadb.sock")
        assert server.query("SELECT '5%d', 'ab' LIKE 'a%'") == [("5%d", 1)]
        assert server.query("SELECT '5%%', %s", ("x",)) == [("5%", "x")]
        server.transaction([("SET @a = '5%d'", ()), ("SET @b = %s", (1,))])
