"""Things of a service's that are on their way to another state, as its tables have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from onestack.database.server import Server


class Passing(NamedTuple):
    kind: str
    """As the client calls it: ``volume snapshot``."""
    identity: str
    name: str
    state: str
    since: int
    """Seconds since its row was written."""


def passing(
    server: Server,
    database: str,
    table: str,
    kind: str,
    state: str,
    condition: str,
    *,
    identity: str = "id",
    name: str = "display_name",
) -> list[Passing]:
    """Rows of ``table`` that fulfil ``condition``; nothing where there is no such table.

    ``state``, ``identity`` and ``name`` are columns, or expressions of them.
    """
    if table not in server.tables(database):
        return []
    rows = server.query(
        f"SELECT {identity}, COALESCE({name}, ''), {state},"
        " TIMESTAMPDIFF(SECOND, COALESCE(updated_at, created_at), UTC_TIMESTAMP())"
        f" FROM `{table}` WHERE {condition}",
        (),
        database,
    )
    return [
        Passing(kind, str(identity), str(name), str(state), int(since or 0))
        for identity, name, state, since in rows
    ]
