"""Databases of older clouds made to hold every character.

What upstream's migrations call ``utf8`` were characters of up to three bytes, until the server
was told otherwise (``old_mode``): a name with an emoji ended in an error. Columns keep
their types and the order of their words, only their character set changes.

The server changes no column that a foreign key ties to another. So keys are written down in
our own database, dropped, and made again in the end: killed anywhere, the next run goes on.
The machine may have been started in between, and services may have worked without keys: what
these would have done to rows that refer to nothing is done before they are made again.
"""

from __future__ import annotations

import re

from onestack.database.server import KEYS, OWN, Server
from onestack.host.locks import Tell, silent

NARROW, WIDE = "utf8mb3", "utf8mb4"
_KEY = re.compile(r"^ *CONSTRAINT `(?P<name>[^`]+)` (?P<rest>FOREIGN KEY .*?),?$", re.MULTILINE)
_REFERENCE = re.compile(
    r"FOREIGN KEY \((?P<columns>[^)]+)\) REFERENCES (?P<table>(?:`[^`]+`\.)?`[^`]+`)"
    r" \((?P<others>[^)]+)\)(?: ON DELETE (?P<rule>CASCADE|SET NULL))?"
)
_INDEX = re.compile(r"^ *KEY `(?P<name>[^`]+)` \((?P<columns>[^)]+)\)", re.MULTILINE)
_UNCHECKED = "SET STATEMENT foreign_key_checks = 0 FOR "


def is_narrow(server: Server, database: str) -> bool:
    """Whether there is something for `widen` to do."""
    return bool(narrow_tables(server, database) or _kept(server, database))


def narrow_tables(server: Server, database: str) -> list[str]:
    rows = server.query(
        "SELECT DISTINCT table_name FROM information_schema.columns"
        " WHERE table_schema = %s AND character_set_name = %s ORDER BY table_name",
        (database, NARROW),
    )
    return [str(row[0]) for row in rows]


def widen(server: Server, database: str, tell: Tell = silent) -> None:
    """Nobody else works in ``database`` meanwhile."""
    interrupted = _are_gone(server, database)
    tables = narrow_tables(server, database)
    if tables:
        _keep(server, database)
    keys = _kept(server, database)
    for table, name, _ in keys if tables else ():
        server.query(f"ALTER TABLE `{table}` DROP FOREIGN KEY IF EXISTS `{name}`", (), database)
    for table in tables:
        _widen(server, database, table)
    if interrupted:
        _settle(server, database, keys, tell)
    there = _foreign_keys(server, database)
    for table, name, rest in keys:
        if (table, name) not in there:
            changes = [*_named(server, database, table, rest), f"ADD CONSTRAINT `{name}` {rest}"]
            # What they say of the rows is so.
            sql = f"{_UNCHECKED}ALTER TABLE `{table}` {', '.join(changes)}"
            server.query(sql, (), database)
    server.forget_keys(database)


def _widen(server: Server, database: str, table: str) -> None:
    rows = server.query(
        "SELECT column_name, column_type, collation_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " AND character_set_name = %s ORDER BY ordinal_position",
        (database, table, NARROW),
    )
    changes = [f"MODIFY {_column(*map(_text, row))}" for row in rows]
    ((collation,),) = server.query(
        "SELECT table_collation FROM information_schema.tables"
        " WHERE table_schema = %s AND table_name = %s",
        (database, table),
    )
    if str(collation).startswith(NARROW):
        changes.append(f"DEFAULT CHARACTER SET {WIDE} COLLATE {_wide(str(collation))}")
    server.query(f"{_UNCHECKED}ALTER TABLE `{table}` {', '.join(changes)}", (), database)


def _named(server: Server, database: str, table: str, rest: str) -> list[str]:
    """Changes by which the index of a key's columns keeps its name.

    The server made it with the key, by the name of the column, and would make another.
    """
    reference = _REFERENCE.match(rest)
    ((_, text),) = server.query(f"SHOW CREATE TABLE `{table}`", (), database)
    return [
        f"DROP INDEX `{index['name']}`, ADD {index[0].strip()}"
        for index in _INDEX.finditer(str(text))
        if reference and index["columns"] == reference["columns"].replace(", ", ",")
    ]


def _settle(server: Server, database: str, keys: list[tuple[str, str, str]], tell: Tell) -> None:
    """Rows that refer to nothing go, or refer no more, as their keys say; others are told."""
    found = [(table, name, key) for table, name, rest in keys if (key := _REFERENCE.match(rest))]
    settled = False
    while not settled:
        settled = True
        for table, _, key in found:
            rows = _astray(server, database, table, key) if key["rule"] else 0
            if not rows:
                continue
            # those that referred to these are next
            settled = False
            if key["rule"] == "CASCADE":
                sql = f"DELETE FROM `{table}`"
            else:
                nothing = ", ".join(f"{column} = NULL" for column in key["columns"].split(", "))
                sql = f"UPDATE `{table}` SET {nothing}"
            # keys that are there again already would refuse it
            server.query(f"{_UNCHECKED}{sql} WHERE {_condition(table, key)}", (), database)
            tell(f"{database}: {rows} rows of {table} referred to nothing in {key['table']}")
    for table, name, key in found:
        if rows := _astray(server, database, table, key):
            tell(
                f"{database}: {rows} rows of {table} refer to nothing in {key['table']} ({name}), "
                "and stay"
            )


def _astray(server: Server, database: str, table: str, key: re.Match[str]) -> int:
    """How many rows refer to nothing."""
    sql = f"SELECT COUNT(*) FROM `{table}` WHERE {_condition(table, key)}"
    return server.number(sql, (), database)


def _condition(table: str, key: re.Match[str]) -> str:
    columns, others = (key[group].split(", ") for group in ("columns", "others"))
    given = " AND ".join(f"`{table}`.{column} IS NOT NULL" for column in columns)
    same = " AND ".join(
        f"other.{other} = `{table}`.{column}" for column, other in zip(columns, others, strict=True)
    )
    return f"{given} AND NOT EXISTS (SELECT 1 FROM {key['table']} AS other WHERE {same})"


def _column(name: str, kind: str, collation: str, nullable: str, default: str) -> str:
    """Its definition; the server tells a default as it is written in one."""
    null = "NULL" if nullable == "YES" else "NOT NULL"
    given = f" DEFAULT {default}" if default else ""
    return f"`{name}` {kind} CHARACTER SET {WIDE} COLLATE {_wide(collation)} {null}{given}"


def _keep(server: Server, database: str) -> None:
    """Write all foreign keys of ``database`` down; those that are, are whole."""
    server.query(f"CREATE DATABASE IF NOT EXISTS `{OWN}`")
    server.query(
        f"CREATE TABLE IF NOT EXISTS `{OWN}`.{KEYS} (place VARCHAR(64), tied VARCHAR(64),"
        " name VARCHAR(64), definition TEXT, PRIMARY KEY (place, tied, name))"
    )
    found = []
    for table in sorted(server.tables(database)):
        ((_, text),) = server.query(f"SHOW CREATE TABLE `{table}`", (), database)
        found += [(database, table, key["name"], key["rest"]) for key in _KEY.finditer(str(text))]
    insert = f"INSERT IGNORE INTO `{OWN}`.{KEYS} VALUES (%s, %s, %s, %s)"
    server.transaction([(insert, row) for row in found])


def _are_gone(server: Server, database: str) -> bool:
    """Whether keys that were written down are not there: a run ended before it made them."""
    there = _foreign_keys(server, database)
    return any((table, name) not in there for table, name, _ in _kept(server, database))


def _foreign_keys(server: Server, database: str) -> set[tuple[str, str]]:
    """Those that are there now, by table and name."""
    rows = server.query(
        "SELECT table_name, constraint_name FROM information_schema.referential_constraints"
        " WHERE constraint_schema = %s",
        (database,),
    )
    return {(str(table), str(name)) for table, name in rows}


def _kept(server: Server, database: str) -> list[tuple[str, str, str]]:
    """Of tables that are there: a database may have been dropped meanwhile, or some of them."""
    if KEYS not in server.tables(OWN):
        return []
    rows = server.query(
        f"SELECT tied, name, definition FROM `{OWN}`.{KEYS} WHERE place = %s ORDER BY tied, name",
        (database,),
    )
    there = server.tables(database)
    return [(str(table), str(name), str(text)) for table, name, text in rows if table in there]


def _wide(collation: str) -> str:
    return collation.replace(NARROW, WIDE)


def _text(value: object) -> str:
    return "" if value is None else str(value)
