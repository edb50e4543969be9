"""Cinder's tables, as of 29.0.0: backups, and what is on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "cinder"


def backups(server: Server, driver: str) -> int:
    """How many there are that were made by this driver, a class by its module."""
    sql = "SELECT COUNT(*) FROM backups WHERE deleted = 0 AND service = %s"
    return server.number(sql, (driver,), DATABASE)


def backup_services(server: Server) -> int:
    """How many are listed, running or not."""
    sql = "SELECT COUNT(*) FROM services WHERE `binary` = 'cinder-backup' AND deleted = 0"
    return server.number(sql, (), DATABASE)


_RESTING = "'available', 'in-use', 'reserved', 'error', 'maintenance', 'deleted'"


def in_passing(server: Server) -> list[Passing]:
    """Volumes, snapshots and backups on their way to another state."""
    found = []
    for table, kind in (
        ("volumes", "volume"),
        ("snapshots", "volume snapshot"),
        ("backups", "volume backup"),
    ):
        condition = (
            f"deleted = 0 AND status NOT IN ({_RESTING}) AND status NOT LIKE 'error%'"
            " AND status NOT LIKE 'awaiting%'"
        )
        found += passing(server, DATABASE, table, kind, "status", condition)
    return found
