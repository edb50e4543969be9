"""Heat's tables, as of 27.0.1."""

from __future__ import annotations

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
