"""Older clouds' databases are widened, on a real server: nothing else changes, also when killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onestack.database import widening
from onestack.database.server import Server
from onestack.model.errors import OnestackError
from tests.support.mariadb import installed as needs_mariadb
from tests.support.mariadb import running
from tests.support.needs import needs_root

pytestmark = [needs_mariadb, needs_root]

NARROW = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb3"
TABLES = (
    f"CREATE TABLE parent (id VARCHAR(36) PRIMARY KEY, name VARCHAR(255) NOT NULL) {NARROW}",
    "CREATE TABLE child (n INT PRIMARY KEY AUTO_INCREMENT, of VARCHAR(36) NOT NULL,"
    " kind ENUM('one','it''s') NOT NULL DEFAULT 'it''s', body TEXT, folded VARCHAR(20) DEFAULT"
    " NULL, exact VARCHAR(20) COLLATE utf8mb3_bin DEFAULT 'x', latin VARCHAR(9) CHARACTER SET"
    " latin1, share VARCHAR(9) DEFAULT '5%d', UNIQUE KEY exactly (exact, folded), CONSTRAINT"
    f" child_of FOREIGN KEY (of) REFERENCES parent (id) ON DELETE CASCADE) {NARROW}",
    # wide already, but for a column
    "CREATE TABLE mixed (a VARCHAR(20) CHARACTER SET utf8mb3, b VARCHAR(20))"
    " DEFAULT CHARSET=utf8mb4",
)
EMOJI = "\N{GRINNING FACE}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("widening")
    folder.parent.chmod(0o755)
    with running(folder):
        yield Server(folder / "mariadb.sock")


def made(server: Server, name: str) -> dict[str, str]:
    """An older cloud's database, with a row in each table; how it should be afterwards."""
    server.create(name)
    for table in TABLES:
        server.query(table, (), name)
    server.query("INSERT INTO parent VALUES ('p', 'größe')", (), name)
    server.query("INSERT INTO child (of, body) VALUES ('p', '日本')", (), name)
    return shape(server, name)


def shape(server: Server, name: str) -> dict[str, str]:
    """Each table's text as it is, or is to be, without what a column has from its table."""
    found = {}
    for table in server.tables(name):
        ((_, text),) = server.query(f"SHOW CREATE TABLE `{table}`", (), name)
        wide = str(text).replace("utf8mb3", "utf8mb4")
        found[table] = wide.replace(" CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "")
    return found


def test_what_upstream_calls_utf8_is_all_of_it(server: Server) -> None:
    server.create("new")
    table = "CREATE TABLE t (a VARCHAR(20), b VARCHAR(9) COLLATE utf8_bin) CHARSET=utf8"
    server.query(table, (), "new")
    server.query("INSERT INTO t VALUES (%s, %s)", (EMOJI, EMOJI), "new")
    assert server.query("SELECT a, b FROM t", (), "new") == [(EMOJI, EMOJI)]
    assert not widening.is_narrow(server, "new")


def test_all_emoji_are_one_where_names_are_unique(server: Server) -> None:
    """By the order of characters that upstream's tables get; others are told apart."""
    server.create("order_of")
    server.query("CREATE TABLE t (a VARCHAR(20) UNIQUE)", (), "order_of")
    for name in (EMOJI, f"{EMOJI}a", "日", "本"):
        server.query("INSERT INTO t VALUES (%s)", (name,), "order_of")
    with pytest.raises(OnestackError, match="refused"):
        server.query("INSERT INTO t VALUES (%s)", ("\N{CAT FACE}",), "order_of")


def test_nothing_but_the_characters_changes(server: Server) -> None:
    wanted = made(server, "old")
    with pytest.raises(OnestackError, match="refused"):
        server.query("UPDATE parent SET name = %s", (EMOJI,), "old")
    assert widening.is_narrow(server, "old")
    widening.widen(server, "old")
    assert not widening.is_narrow(server, "old")
    assert shape(server, "old") == wanted
    assert server.query("SELECT of, kind, body FROM child", (), "old") == [("p", "it's", "日本")]
    server.query("UPDATE parent SET name = %s", (EMOJI,), "old")
    server.query("UPDATE child SET body = %s, exact = %s", (EMOJI, EMOJI), "old")
    server.query("INSERT INTO mixed VALUES (%s, %s)", (EMOJI, EMOJI), "old")
    # the key still ties
    with pytest.raises(OnestackError, match="refused"):
        server.query("INSERT INTO child (of) VALUES ('nobody')", (), "old")
    server.query("DELETE FROM parent", (), "old")
    assert server.number("SELECT count(*) FROM child", (), "old") == 0


@pytest.mark.parametrize("left", range(7))
def test_killed_anywhere_it_goes_on(
    server: Server, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each statement that changes something."""
    name = f"killed{left}"
    wanted = made(server, name)
    done = Server.query
    todo = left

    def query(self: Server, sql: str, *more: object) -> list[tuple[object, ...]]:
        nonlocal todo
        if "ALTER" in sql or "DELETE" in sql:
            if not todo:
                raise KeyboardInterrupt
            todo -= 1
        return done(self, sql, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "query", query)
    try:
        widening.widen(server, name)
        killed = False
    except KeyboardInterrupt:
        killed = True
    monkeypatch.undo()
    # two keys' statements, three tables', and the last that forgets the keys
    assert killed == (left < 6)
    assert widening.is_narrow(server, name) == killed
    widening.widen(server, name)
    assert not widening.is_narrow(server, name)
    assert shape(server, name) == wanted


def cut(server: Server, name: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the first statement with that word."""
    done = Server.query

    def query(self: Server, sql: str, *more: object) -> list[tuple[object, ...]]:
        if at in sql:
            raise KeyboardInterrupt
        return done(self, sql, *more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Server, "query", query)
        with pytest.raises(KeyboardInterrupt):
            widening.widen(server, name)


@pytest.mark.parametrize("drop", ["whole", "cut"])
def test_what_is_dropped_half_way_is_made_anew(
    server: Server, drop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is switched off, and on again."""
    name = f"dropped_{drop}"
    made(server, name)
    cut(server, name, "MODIFY", monkeypatch)
    assert widening.is_narrow(server, name)
    if drop == "whole":
        server.drop(name)
    else:
        server.query(f"DROP DATABASE {name}")
    assert not widening.is_narrow(server, name)
    server.create(name)
    server.query("CREATE TABLE child (n INT PRIMARY KEY)", (), name)
    assert not widening.is_narrow(server, name)


def test_a_table_that_is_dropped_half_way_has_no_keys(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(server, "tables")
    cut(server, "tables", "MODIFY", monkeypatch)
    server.drop_tables("tables", ["child"])
    widening.widen(server, "tables")
    assert not widening.is_narrow(server, "tables")


ID, OF = "id VARCHAR(9) PRIMARY KEY", "of VARCHAR(9)"
FAMILY = (
    f"CREATE TABLE parent ({ID}, again VARCHAR(9), UNIQUE KEY (id, again))",
    f"CREATE TABLE child ({ID}, {OF}, FOREIGN KEY (of) REFERENCES parent (id) ON DELETE CASCADE)",
    f"CREATE TABLE grandchild ({ID}, {OF}, CONSTRAINT grand FOREIGN KEY (of) REFERENCES child (id)"
    " ON DELETE CASCADE ON UPDATE CASCADE)",
    f"CREATE TABLE loose ({ID}, {OF}, FOREIGN KEY (of) REFERENCES child (id) ON DELETE SET NULL)",
    f"CREATE TABLE strict ({ID}, {OF}, CONSTRAINT tied FOREIGN KEY (of) REFERENCES parent (id))",
    f"CREATE TABLE tree ({ID}, {OF}, FOREIGN KEY (of) REFERENCES tree (id) ON DELETE CASCADE)",
    f"CREATE TABLE pair ({ID}, {OF}, again VARCHAR(9), FOREIGN KEY (of, again) REFERENCES"
    " parent (id, again) ON DELETE CASCADE)",
)
MEANWHILE = {
    "child": (("c", "p"), ("astray", "gone"), ("none", None)),
    "grandchild": (("g", "c"), ("astray", "gone"), ("follows", "astray")),
    "loose": (("l", "c"), ("astray", "astray")),
    "strict": (("s", "p"), ("astray", "gone")),
    "tree": (("root", None), ("leaf", "root"), ("astray", "gone"), ("follows", "astray")),
    "pair": (("a", "p", "q"), ("b", "p", None), ("astray", "p", "gone")),
}
"""Rows of services that found no keys; with a name for those that keys would not have let be."""


@pytest.mark.parametrize("added", range(6))
def test_what_was_written_without_keys_is_settled(
    server: Server, added: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them were made again when it was killed."""
    name = f"settled{added}"
    server.create(name)
    for table in FAMILY:
        server.query(f"{table} {NARROW}", (), name)
    keys = shape(server, name)
    done, left = Server.query, added

    def query(self: Server, sql: str, *more: object) -> list[tuple[object, ...]]:
        nonlocal left
        if "ADD CONSTRAINT" in sql:
            if not left:
                raise KeyboardInterrupt
            left -= 1
        return done(self, sql, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "query", query)
    with pytest.raises(KeyboardInterrupt):
        widening.widen(server, name)
    monkeypatch.undo()
    server.query("INSERT INTO parent VALUES ('p', 'q')", (), name)
    for table, rows in MEANWHILE.items():
        for row in rows:
            values = ", ".join("NULL" if value is None else f"'{value}'" for value in row)
            # also where a key is there again: it is made without a look at the rows
            insert = f"INSERT INTO {table} VALUES ({values})"
            server.query(f"SET STATEMENT foreign_key_checks = 0 FOR {insert}", (), name)
    told: list[str] = []
    widening.widen(server, name, told.append)
    assert not widening.is_narrow(server, name) and shape(server, name) == keys
    kept = {
        table: {row[0]: row[1] for row in server.query(f"SELECT * FROM {table}", (), name)}
        for table in MEANWHILE
    }
    assert kept == {
        "child": {"c": "p", "none": None},
        "grandchild": {"g": "c"},
        "loose": {"l": "c", "astray": None},
        "strict": {"s": "p", "astray": "gone"},
        "tree": {"root": None, "leaf": "root"},
        "pair": {"a": "p", "b": "p"},
    }
    assert f"{name}: 1 rows of strict refer to nothing in `parent` (tied), and stay" in told
    assert sum("of grandchild referred to nothing" in sentence for sentence in told) in (1, 2)
    with pytest.raises(OnestackError, match="refused"):
        server.query("DELETE FROM parent", (), name)


def test_one_that_was_not_interrupted_looks_at_no_rows(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(server, "whole")
    monkeypatch.setattr(widening, "_settle", lambda *arguments: pytest.fail("it does"))
    widening.widen(server, "whole")


def test_one_that_kept_its_keys_looks_at_no_rows(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were written down, and none was dropped: what refers to nothing did so before."""
    made(server, "begun")
    insert = "INSERT INTO child (of) VALUES ('gone')"
    server.query(f"SET STATEMENT foreign_key_checks = 0 FOR {insert}", (), "begun")
    cut(server, "begun", "DROP FOREIGN KEY", monkeypatch)
    assert widening.is_narrow(server, "begun")
    widening.widen(server, "begun")
    assert not widening.is_narrow(server, "begun")
    assert server.number("SELECT count(*) FROM child", (), "begun") == 2
