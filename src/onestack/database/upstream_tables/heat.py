"""Heat's tables, as of 27.0.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing
from onestack.database.places import Table

if TYPE_CHECKING:
    from onestack.database.server import Server

STACKS = Table("heat", "stack")
"""There once heat's database was migrated."""


def in_passing(server: Server) -> list[Passing]:
    """Stacks that are being changed, but for those that are resources of another."""
    return passing(
        server,
        "heat",
        "stack",
        "stack",
        "CONCAT(action, '_', status)",
        "deleted_at IS NULL AND status = 'IN_PROGRESS' AND owner_id IS NULL",
        name="name",
    )


@dataclass(frozen=True)
class StackRow:
    identity: str
    name: str
    status: str
    """Such as ``CREATE COMPLETE``."""


def tagged(server: Server, tag: str) -> list[StackRow]:
    """Everybody's stacks with this tag, nested ones apart. The API lists them for nobody."""
    rows = server.query(
        "SELECT s.id, s.name, CONCAT(COALESCE(s.action, ''), ' ', COALESCE(s.status, ''))"
        " FROM stack s JOIN stack_tag t ON t.stack_id = s.id"
        " WHERE t.tag = %s AND s.deleted_at IS NULL AND s.owner_id IS NULL ORDER BY s.name",
        (tag,),
        STACKS.database,
    )
    return [StackRow(str(identity), str(name), str(status)) for identity, name, status in rows]
