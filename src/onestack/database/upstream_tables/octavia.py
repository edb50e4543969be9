"""Octavia's tables, as of 19.0.0: when amphorae were heard of, which its API does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onestack.database.passing import Passing, passing

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "octavia"


@dataclass(frozen=True)
class AmphoraRow:
    identity: str
    balancer: str
    status: str
    server: str
    """The ID that nova knows it by; empty while it has none."""
    address: str
    """Of its agent, in the network that it shares with the service."""
    age: int
    """Seconds since it was asked for."""
    silent: int | None
    """Seconds since it was heard of; ``None``: never."""


def amphorae(server: Server) -> tuple[AmphoraRow, ...]:
    """Those of balancers that are there."""
    rows = server.query(
        "SELECT a.id, a.load_balancer_id, a.status, COALESCE(a.compute_id, ''),"
        " COALESCE(a.lb_network_ip, ''),"
        " COALESCE(TIMESTAMPDIFF(SECOND, a.created_at, UTC_TIMESTAMP()), 0),"
        " TIMESTAMPDIFF(SECOND, h.last_update, UTC_TIMESTAMP())"
        " FROM amphora a LEFT JOIN amphora_health h ON h.amphora_id = a.id"
        " WHERE a.status <> 'DELETED' AND a.load_balancer_id IS NOT NULL ORDER BY a.created_at",
        (),
        DATABASE,
    )
    return tuple(AmphoraRow(*row) for row in rows)


def in_passing(server: Server) -> list[Passing]:
    """Balancers that are being changed."""
    return passing(
        server,
        DATABASE,
        "load_balancer",
        "loadbalancer",
        "provisioning_status",
        "provisioning_status LIKE 'PENDING%'",
        name="name",
    )
