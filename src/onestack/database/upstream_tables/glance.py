"""Glance's tables, as of 33.0.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "glance"


def in_passing(server: Server) -> list[Passing]:
    """Images whose content is on its way in, or out."""
    return passing(
        server,
        DATABASE,
        "images",
        "image",
        "status",
        "deleted = 0 AND status IN ('saving', 'uploading', 'importing', 'pending_delete')",
        name="name",
    )
