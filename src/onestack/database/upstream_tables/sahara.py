"""Sahara's tables, as of 19.0.0: which clusters there are, and their machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "sahara"


@dataclass(frozen=True)
class ClusterRow:
    identity: str
    name: str
    status: str
    """Such as ``Active``, ``Error``, ``Waiting``, ``Scaling: Waiting``."""
    description: str
    """What sahara says of it, if it says anything."""
    silent: int
    """Seconds since anything of it changed."""
    project: str
    """Whose it is: keystone's id."""


@dataclass(frozen=True)
class MachineRow:
    """One of a cluster's. ``server`` is nova's id."""

    name: str
    server: str
    address: str
    """At which sahara reaches it by ssh; empty while it has none."""


def clusters(server: Server) -> list[ClusterRow]:
    """All that there are, of everybody."""
    rows = server.query(
        "SELECT id, name, COALESCE(status, ''), COALESCE(status_description, ''),"
        " TIMESTAMPDIFF(SECOND, COALESCE(updated_at, created_at), UTC_TIMESTAMP()),"
        " COALESCE(tenant_id, '') FROM clusters ORDER BY created_at",
        (),
        DATABASE,
    )
    return [
        ClusterRow(str(i), str(name), str(status), str(told), int(silent), str(project))
        for i, name, status, told, silent, project in rows
    ]


def machines(server: Server, cluster: str) -> list[MachineRow]:
    rows = server.query(
        "SELECT i.instance_name, COALESCE(i.instance_id, ''), COALESCE(i.management_ip, '')"
        " FROM instances i JOIN node_groups g ON g.id = i.node_group_id"
        " WHERE g.cluster_id = %s ORDER BY i.instance_name",
        (cluster,),
        DATABASE,
    )
    return [MachineRow(str(name), str(nova), str(address)) for name, nova, address in rows]
