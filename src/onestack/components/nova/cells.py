"""Nova's cells: cell0 for servers that found no host, cell1 for all others.

Upstream's ``nova-manage cell_v2`` does the same; inserting the two rows
saves starting it. Connections are written as templates of the service's own
configuration, so no password lies in them (nova/objects/cell_mapping.py).
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

from onestack.components.mariadb.sql import connect
from onestack.model.change import Change
from onestack.model.context import Context

CELL0_UUID = str(uuid.UUID(int=0))
CELL1 = "cell1"
DATABASE = "{scheme}://{username}:{password}@{hostname}/%s?{query}"
MESSAGES = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"


def ensure_cells(ctx: Context) -> Iterator[Change]:
    """Both cells mapped, and this machine's compute service mapped to cell1."""
    host = socket.gethostname()

    def run(statement: str, *values: str) -> None:
        with connect(ctx.cloud, "nova_api") as database, database.cursor() as cursor:
            cursor.execute(statement, values)
            database.commit()

    with connect(ctx.cloud, "nova_api") as database, database.cursor() as cursor:
        cursor.execute("SELECT name FROM cell_mappings")
        cells = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT host FROM host_mappings")
        hosts = {row[0] for row in cursor.fetchall()}

    add_cell = (
        "INSERT IGNORE INTO cell_mappings"
        " (created_at, uuid, name, transport_url, database_connection, disabled)"
        " VALUES (UTC_TIMESTAMP(), %s, %s, %s, %s, 0)"
    )
    if "cell0" not in cells:
        cell0 = (CELL0_UUID, "cell0", "none:///", DATABASE % "nova_cell0")
        yield Change("map cell0", lambda: run(add_cell, *cell0))
    if CELL1 not in cells:
        cell1 = (str(uuid.uuid4()), CELL1, MESSAGES, DATABASE % "nova")
        yield Change("map cell1", lambda: run(add_cell, *cell1))
    if host not in hosts:
        add_host = (
            "INSERT IGNORE INTO host_mappings (created_at, cell_id, host)"
            " SELECT UTC_TIMESTAMP(), id, %s FROM cell_mappings WHERE name = %s"
        )
        yield Change(f"map the compute host {host}", lambda: run(add_host, host, CELL1))
