"""Databases of older clouds made to hold every character.

What upstream's migrations call ``utf8`` were characters of up to three bytes, until the server
was told otherwise (``old_mode``): a name with an emoji ended in an error. Columns keep
their types and the order of their words, only their character set changes.

The server changes no column that a foreign key ties to another. So keys are written down in
our own database, dropped, and made again in the end: killed anywhere, the next run goes on.
"""

from __future__ import annotations

import re

from onestack.database.server import OWN, Server

NARROW, WIDE = "utf8mb3", "utf8mb4"
KEYS = "foreign_keys"
_KEY = re.compile(r"^ *CONSTRAINT `(?P<name>[^`]+)` (?P<rest>FOREIGN KEY .*?),?$", re.MULTILINE)
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


def widen(server: Server, database: str) -> None:
    """Nobody else works in ``database`` meanwhile."""
    tables = narrow_tables(server, database)
    if tables:
        _keep(server, database)
    keys = _kept(server, database)
    for table, name, _ in keys if tables else ():
        server.query(f"ALTER TABLE `{table}` DROP FOREIGN KEY IF EXISTS `{name}`", (), database)
    for table in tables:
        _widen(server, database, table)
    for table, name, rest in keys:
        # What they say of the rows has been so all the time.
        wanted = rest.replace("FOREIGN KEY ", f"FOREIGN KEY IF NOT EXISTS `{name}` ", 1)
        add = f"ALTER TABLE `{table}` ADD CONSTRAINT `{name}` {wanted}"
        server.query(f"{_UNCHECKED}{add}", (), database)
    server.query(f"DELETE FROM `{OWN}`.{KEYS} WHERE place = %s", (database,))


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


def _kept(server: Server, database: str) -> list[tuple[str, str, str]]:
    if KEYS not in server.tables(OWN):
        return []
    rows = server.query(
        f"SELECT tied, name, definition FROM `{OWN}`.{KEYS} WHERE place = %s ORDER BY tied, name",
        (database,),
    )
    return [(str(table), str(name), str(text)) for table, name, text in rows]


def _wide(collation: str) -> str:
    return collation.replace(NARROW, WIDE)


def _text(value: object) -> str:
    return "" if value is None else str(value)
