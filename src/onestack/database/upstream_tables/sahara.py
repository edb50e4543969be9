"""Sahara's tables, as of 19.0.0: which clusters there are, and their machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "sahara"
LOGGED_IN = "Wait for instance accessibility"
"""What sahara calls the step that ends for a machine when it has logged in there."""


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
    """At which sahara takes it to be reached by ssh; empty until it has seen any address of it."""
    inner: str
    """Its address on the cluster's own network: the same as ``address`` where that is no
    floating IP."""
    pool: str
    """The public network of its node group's floating IPs: neutron's id, or nothing."""
    is_gateway: bool
    """Whether machines of the cluster's other node groups are reached through it."""
    is_behind: bool
    """Whether it is such another one: it is reached by no floating IP, be there one."""
    has_come: bool
    """Whether sahara has logged in already."""


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
        "SELECT i.instance_name, COALESCE(i.instance_id, ''), COALESCE(i.management_ip, ''),"
        " COALESCE(i.internal_ip, ''), COALESCE(g.floating_ip_pool, ''),"
        " COALESCE(g.is_proxy_gateway, 0),"
        " EXISTS (SELECT 1 FROM node_groups o"
        "  WHERE o.cluster_id = g.cluster_id AND o.is_proxy_gateway),"
        " EXISTS (SELECT 1 FROM cluster_events e"
        "  JOIN cluster_provision_steps s ON s.id = e.step_id"
        "  WHERE e.instance_id = i.instance_id AND e.successful AND s.step_name = %s)"
        " FROM instances i JOIN node_groups g ON g.id = i.node_group_id"
        " WHERE g.cluster_id = %s ORDER BY i.instance_name",
        (LOGGED_IN, cluster),
        DATABASE,
    )
    return [
        MachineRow(
            *(str(name), str(nova), str(address), str(inner), str(pool)),
            is_gateway=bool(gateway),
            is_behind=bool(has_gateway and not gateway),
            has_come=bool(come),
        )
        for name, nova, address, inner, pool, gateway, has_gateway, come in rows
    ]
