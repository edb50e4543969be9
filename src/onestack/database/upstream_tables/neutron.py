"""Neutron's tables, as of 29.0.0 (neutron-fwaas 25.0.0), and those of its firewall groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from onestack.database.places import Table

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "neutron"
NETWORKS = Table(DATABASE, "networks")
"""There once neutron's database was migrated."""

FIREWALLS = (
    "firewall_group_port_associations_v2",
    "firewall_policy_rule_associations_v2",
    "default_firewall_groups",
    "firewall_groups_v2",
    "firewall_policies_v2",
    "firewall_rules_v2",
)
"""All that the migrations of firewall groups leave; what refers to another comes first."""
FIREWALL_VERSION = "alembic_version_fwaas"
FIREWALL_SIGN = Table(DATABASE, FIREWALLS[0])
"""There as long as anything of them is."""
_RESOURCES = ("firewall_group", "firewall_policy", "firewall_rule")


def firewall_tables(server: Server) -> list[str]:
    """Those that are there, in the order in which they go.

    One after the other they go, also in a crash: the version first, so that a new schema is
    made, and last the table by which it is seen that something is left.
    """
    present = server.tables(DATABASE)
    return [name for name in (FIREWALL_VERSION, *reversed(FIREWALLS)) if name in present]


def drop_firewall_tables(server: Server, tables: list[str]) -> None:
    """``tables``, and each row about them in neutron's own."""
    # Rows first: interrupted, the tables are still there to be found.
    server.transaction(
        [
            *((f"DELETE FROM `{name}`", ()) for name in FIREWALLS if name in tables),
            ("DELETE FROM standardattributes WHERE resource_type IN %s", (FIREWALLS,)),
            ("DELETE FROM quotas WHERE resource IN %s", (_RESOURCES,)),
        ],
        DATABASE,
    )
    server.drop_tables(DATABASE, tables)


class Untagged(NamedTuple):
    """A network of type local or flat, once for each of its segments."""

    segment: str
    identity: str
    name: str
    kind: str
    physical: str
    """Its physical network, or nothing."""
    external: bool
    guests: int
    ports: int
    """Those that are, or are to be, in the integration bridge; guests' among them."""


def untagged_networks(server: Server) -> list[Untagged]:
    rows = server.query(
        "SELECT s.id, n.id, n.name, s.network_type, COALESCE(s.physical_network, ''),"
        " e.network_id IS NOT NULL, COUNT(IF(p.device_owner LIKE 'compute:%', 1, NULL)),"
        " COUNT(IF(p.device_owner IN ('network:router_gateway', 'network:floatingip'),"
        " NULL, p.id))"
        " FROM networksegments s JOIN networks n ON n.id = s.network_id"
        " LEFT JOIN externalnetworks e ON e.network_id = n.id"
        " LEFT JOIN ports p ON p.network_id = n.id"
        " WHERE s.network_type IN ('local', 'flat')"
        " GROUP BY s.id, n.id, n.name, s.network_type, s.physical_network, e.network_id"
        " ORDER BY n.id",
        (),
        DATABASE,
    )
    return [
        Untagged(
            str(segment), str(i), str(name), str(kind), str(physical), bool(external), guests, ports
        )
        for segment, i, name, kind, physical, external, guests, ports in rows
    ]


def lead(server: Server, network: str, physical_network: str) -> None:
    """Give the network's segments of type local that physical network, or none."""
    server.query(
        "UPDATE networksegments SET physical_network = %s"
        " WHERE network_id = %s AND network_type = 'local'",
        (physical_network or None, network),
        DATABASE,
    )


def bandwidth_limits(server: Server) -> int:
    """How many rules of policies limit a bandwidth."""
    return server.number("SELECT COUNT(*) FROM qos_bandwidth_limit_rules", (), DATABASE)
