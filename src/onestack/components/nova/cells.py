"""Nova's cells: cell0 for servers that found no host, cell1 for all others.

Upstream's ``nova-manage cell_v2`` does the same; inserting the two rows
saves starting it. Connections are written as templates of the service's own
configuration, so no password lies in them (nova/objects/cell_mapping.py).
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator

from onestack.database.server import server_of
from onestack.database.upstream_tables import nova as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.host import Role

CELL0_UUID = str(uuid.UUID(int=0))
CELL1 = "cell1"
DATABASE = "{scheme}://{username}:{password}@{hostname}/%s?{query}"
MESSAGES = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"


def ensure_cells(ctx: Context) -> Iterator[Change]:
    """Both cells mapped, and the compute service of each host mapped to cell1."""
    others = (member.name for member in ctx.members if Role.COMPUTE in member.roles)
    hosts = [*([ctx.host.name] if Role.COMPUTE in ctx.host.roles else []), *others]

    server = server_of(ctx)
    cells = tables.cells(server)
    if "cell0" not in cells:
        cell0 = (CELL0_UUID, "cell0", "none:///", DATABASE % "nova_cell0")
        yield Change("map cell0", lambda: tables.map_cell(server, *cell0))
    if CELL1 not in cells:
        cell1 = (str(uuid.uuid4()), CELL1, MESSAGES, DATABASE % "nova")
        yield Change("map cell1", lambda: tables.map_cell(server, *cell1))
    mapped = tables.mapped_hosts(server)
    for host in hosts:
        if host not in mapped:
            yield Change(
                f"map the compute host {host}",
                functools.partial(tables.map_host, server, host, CELL1),
            )
