"""Nova's cells: cell0 for servers that found no host, cell1 for all others.

Upstream's ``nova-manage cell_v2`` does the same; inserting the two rows
saves starting it. Connections are written as templates of the service's own
configuration, so no password lies in them (nova/objects/cell_mapping.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from onestack.database.server import server_of
from onestack.database.upstream_tables import nova as tables
from onestack.model.change import Change
from onestack.model.context import Context

CELL0_UUID = str(uuid.UUID(int=0))
CELL1 = "cell1"
DATABASE = "{scheme}://{username}:{password}@{hostname}/%s?{query}"
MESSAGES = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"


def ensure_cells(ctx: Context) -> Iterator[Change]:
    """Both cells mapped, and this machine's compute service mapped to cell1."""
    host = ctx.host.name

    server = server_of(ctx)
    cells = tables.cells(server)
    if "cell0" not in cells:
        cell0 = (CELL0_UUID, "cell0", "none:///", DATABASE % "nova_cell0")
        yield Change("map cell0", lambda: tables.map_cell(server, *cell0))
    if CELL1 not in cells:
        cell1 = (str(uuid.uuid4()), CELL1, MESSAGES, DATABASE % "nova")
        yield Change("map cell1", lambda: tables.map_cell(server, *cell1))
    if host not in tables.mapped_hosts(server):
        yield Change(f"map the compute host {host}", lambda: tables.map_host(server, host, CELL1))
