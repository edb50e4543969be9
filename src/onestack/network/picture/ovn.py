"""OVN's own account: what is wanted (northbound), and which chassis has what (southbound)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onestack.network.picture.tables import Question, Row, one, several

NORTHBOUND = (
    Question("Logical_Switch", ("name", "ports")),
    Question("Logical_Switch_Port", ("_uuid", "name"), "type=localnet"),
    Question("Logical_Router", ("name", "ports", "options")),
    Question("Logical_Router_Port", ("_uuid", "name", "gateway_chassis", "ha_chassis_group")),
    Question("DHCP_Options", ("options", "external_ids")),
)
SOUTHBOUND = (
    Question("Chassis", ("_uuid", "name", "hostname")),
    Question("Port_Binding", ("logical_port", "chassis")),
)


@dataclass(frozen=True)
class Ovn:
    switches: Mapping[str, str]
    """Logical switches to their ports to the outside, or nothing."""
    routers: frozenset[str]
    scheduled: Mapping[str, bool]
    """Logical router ports, and whether any chassis is chosen: for the port or its whole router."""
    options: Mapping[str, Mapping[str, str]]
    """Neutron's subnets to what is answered by DHCP."""
    hosts: frozenset[str]
    """Of all chassis."""
    places: Mapping[str, str]
    """Logical ports to the host whose chassis has them."""


def ovn(north: Mapping[str, Sequence[Row]], south: Mapping[str, Sequence[Row]]) -> Ovn:
    localnet = {row["_uuid"]: row["name"] for row in north["Logical_Switch_Port"]}
    hosts = {row["_uuid"]: row["hostname"] or row["name"] for row in south["Chassis"]}
    pinned = {
        port
        for row in north["Logical_Router"]
        if row["options"].get("chassis")
        for port in several(row["ports"])
    }
    return Ovn(
        {
            row["name"]: next((localnet[p] for p in several(row["ports"]) if p in localnet), "")
            for row in north["Logical_Switch"]
        },
        frozenset(row["name"] for row in north["Logical_Router"]),
        {
            row["name"]: bool(
                several(row["gateway_chassis"])
                or one(row["ha_chassis_group"]) is not None
                or row["_uuid"] in pinned
            )
            for row in north["Logical_Router_Port"]
        },
        {
            row["external_ids"]["subnet_id"]: row["options"]
            for row in north["DHCP_Options"]
            # One that is of a port alone says what is otherwise there.
            if "subnet_id" in row["external_ids"] and "port_id" not in row["external_ids"]
        },
        frozenset(hosts.values()),
        {
            row["logical_port"]: hosts[chassis]
            for row in south["Port_Binding"]
            if (chassis := one(row["chassis"])) in hosts
        },
    )
