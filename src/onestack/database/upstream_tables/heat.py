"""Heat's tables, as of 27.0.1."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing
from onestack.database.places import Table

if TYPE_CHECKING:
    from onestack.database.server import Server

STACKS = Table("heat", "stack")
"""There once heat's database was migrated."""
TABLES = frozenset({"stack", "stack_tag", "resource", "raw_template"})
"""Those that are asked."""


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
    return _stacks(server, tag, "t.id IS NOT NULL")


def untagged(server: Server, tag: str) -> list[StackRow]:
    """Everybody's stacks without this tag, nested ones apart."""
    return _stacks(server, tag, "t.id IS NULL")


def _stacks(server: Server, tag: str, wanted: str) -> list[StackRow]:
    rows = server.query(
        "SELECT s.id, s.name, CONCAT(COALESCE(s.action, ''), ' ', COALESCE(s.status, ''))"
        " FROM stack s LEFT JOIN stack_tag t ON t.stack_id = s.id AND t.tag = %s"
        f" WHERE {wanted} AND s.deleted_at IS NULL AND s.owner_id IS NULL ORDER BY s.name",
        (tag,),
        STACKS.database,
    )
    return [StackRow(str(identity), str(name), str(status)) for identity, name, status in rows]


def held(server: Server, tag: str) -> dict[str, set[str]]:
    """What everybody's stacks with this tag, and those within them, have made elsewhere.

    By type, such as ``OS::Nova::Server``, the ids that the services know them by. A resource's
    own row does not say what it is; the template that it was made by does.
    """
    rows = server.query(
        "SELECT r.name, r.nova_instance, t.template"
        " FROM resource r JOIN stack s ON s.id = r.stack_id"
        " JOIN stack root ON root.id = r.root_stack_id"
        " JOIN stack_tag g ON g.stack_id = root.id"
        " JOIN raw_template t ON t.id = COALESCE(r.current_template_id, s.raw_template_id)"
        " WHERE g.tag = %s AND root.deleted_at IS NULL AND root.owner_id IS NULL"
        " AND r.nova_instance <> ''",
        (tag,),
        STACKS.database,
    )
    found: dict[str, set[str]] = {}
    for name, identity, template in rows:
        resource = json.loads(template).get("resources", {}).get(str(name), {})
        found.setdefault(str(resource.get("type", "")), set()).add(str(identity))
    return found
