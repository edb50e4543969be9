"""Nova's tables, as of 34.0.0: its cells, whose API is a command that starts all of nova."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing

if TYPE_CHECKING:
    from onestack.database.server import Server

API, CELL = "nova_api", "nova"
"""The database of all cells, and that of the one which has the servers."""


def cells(server: Server) -> set[str]:
    """Names of those that are mapped."""
    return {str(row[0]) for row in server.query("SELECT name FROM cell_mappings", (), API)}


def mapped_hosts(server: Server) -> set[str]:
    """Compute hosts that have a cell."""
    return {str(row[0]) for row in server.query("SELECT host FROM host_mappings", (), API)}


def map_cell(server: Server, uuid: str, name: str, transport_url: str, connection: str) -> None:
    server.query(
        "INSERT IGNORE INTO cell_mappings"
        " (created_at, uuid, name, transport_url, database_connection, disabled)"
        " VALUES (UTC_TIMESTAMP(), %s, %s, %s, %s, 0)",
        (uuid, name, transport_url, connection),
        API,
    )


def map_host(server: Server, host: str, cell: str) -> None:
    server.query(
        "INSERT IGNORE INTO host_mappings (created_at, cell_id, host)"
        " SELECT UTC_TIMESTAMP(), id, %s FROM cell_mappings WHERE name = %s",
        (host, cell),
        API,
    )


def computes(server: Server) -> dict[str, int]:
    """Host to the number of its servers, for each that has a compute service."""
    found = server.query(
        "SELECT s.host, COUNT(i.id) FROM services s"
        " LEFT JOIN instances i ON i.host = s.host AND i.deleted = 0"
        " WHERE s.`binary` = 'nova-compute' AND s.deleted = 0 GROUP BY s.host",
        (),
        CELL,
    )
    return {str(host): int(count) for host, count in found}


def running_longer_than(server: Server, seconds: int) -> int:
    """How many servers are active since more than ``seconds``."""
    return server.number(
        "SELECT COUNT(*) FROM instances WHERE deleted = 0 AND vm_state = 'active'"
        " AND launched_at < UTC_TIMESTAMP() - INTERVAL %s SECOND",
        (seconds,),
        CELL,
    )


def in_passing(server: Server) -> list[Passing]:
    """Servers that something is done to."""
    return passing(
        server,
        CELL,
        "instances",
        "server",
        # What is unshelved has the task of one that is made, and all its content.
        "CASE WHEN vm_state = 'shelved_offloaded' AND task_state = 'spawning' THEN 'unshelving'"
        " ELSE COALESCE(task_state, vm_state) END",
        "deleted = 0 AND (task_state IS NOT NULL OR vm_state = 'building')",
        identity="uuid",
    )
