"""The guide's cloud in either layout: what its services answer, and what its switch does.

``recorded`` holds the words of ovs-vsctl, ovn-nbctl and ovn-sbctl, asked as the program does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onestack.network.picture import ovn, switch, tables
from onestack.network.picture.drawing import Setting, draw
from onestack.network.picture.gathered import FIELDS, Gathered
from onestack.network.picture.judgement import judge
from onestack.network.picture.model import Nic, Picture

Item = dict[str, Any]
RECORDED = Path(__file__).with_name("recorded")
EXT = "fe005592-e0da-46be-b542-e81be7ecaf25"
INT = "86eaac28-68d2-4111-bd56-68e81722b853"
ROUTER = "ed7b5f8c-4964-40bf-867a-a55ad56c7244"
SUB_EXT = "16232e8a-2d1c-4b5a-9f8e-7d6c5b4a3921"
SUB_INT = "19a4cf98-3f0e-4c7d-8e21-5b6a7c8d9e10"
GATEWAY = "244e25b0-ea5c-4e0e-9d6f-5f0f1c7d2b11"
INTERFACE = "d698c4e6-e3a1-4c86-8f3f-1f0f6f1d7a22"
DHCP_EXT = "b3289e96-42d1-4b4e-8a5c-9f6a7d0b3c33"
DHCP_INT = "2e5be949-d40b-4f0e-9c1d-6a7b8c9d0e44"
PORT_ONE = "07733fc0-3d28-4f57-a6d4-3c5b1e9f2a55"
PORT_TWO = "5c81b2ae-91f4-4d0b-b0a7-8e2f4d6c7b66"
PORT_WEB = "aa31c7d5-0f6e-4b1a-9e2d-4c5f6a7b8d99"
ONE, TWO = "fe439786-0d2e-4a32-9d1b-2f3d8a1c5e77", "0c9a5d3e-7b61-4c8f-a2e4-6d1f0b9c8a88"
HOST = "box"
PROVNET = "provnet-0d021e5f-7960-4bfd-b801-97a84b5bb276"
NICS = {
    "br-ex": [Nic("eno1", "br-eno1", "to-br-ex-eno1", ("10.50.14.50/24",), ("10.50.14.1",))],
}


def said(name: str) -> str:
    """By a tool: ``openvswitch.ovs-vsctl`` and the like."""
    return (RECORDED / name).read_text()


def network(identity: str, name: str, **other: Any) -> Item:
    return {
        "id": identity,
        "name": name,
        "admin_state_up": True,
        "shared": True,
        "router:external": False,
        "provider:network_type": "local",
        "provider:physical_network": None,
        "provider:segmentation_id": None,
        **other,
    }


def subnet(identity: str, of: str, name: str, cidr: str, gateway: str, *pool: str) -> Item:
    return {
        "id": identity,
        "name": name,
        "network_id": of,
        "cidr": cidr,
        "gateway_ip": gateway,
        "ip_version": 4,
        "enable_dhcp": True,
        "allocation_pools": [dict(zip(("start", "end"), pool, strict=True))] if pool else [],
    }


def port(identity: str, of: str, owner: str, device: str, address: str, **other: Any) -> Item:
    return {
        "id": identity,
        "name": "",
        "network_id": of,
        "status": "ACTIVE",
        "admin_state_up": True,
        "mac_address": f"fa:16:3e:{identity[:2]}:{identity[2:4]}:{identity[4:6]}",
        "fixed_ips": [{"subnet_id": "any", "ip_address": address}],
        "device_id": device,
        "device_owner": owner,
        "binding:host_id": HOST,
        "binding:vif_type": "ovs",
        "binding:vif_details": {},
        "allowed_address_pairs": [],
        **other,
    }


def server_port(identity: str, server: str, address: str, hybrid: bool) -> Item:
    details = {"ovs_hybrid_plug": hybrid}
    return port(identity, INT, "compute:nova", server, address, **{"binding:vif_details": details})


def server(identity: str, name: str, **other: Any) -> Item:
    """As much of nova's as is looked at."""
    states = {"vm_state": "active", "task_state": None, "power_state": 1, **other}
    return {"id": identity, "name": name, **{f"OS-EXT-STS:{k}": v for k, v in states.items()}}


def floating(address: str, **other: Any) -> Item:
    return {
        "id": address,
        "floating_ip_address": address,
        "floating_network_id": EXT,
        "port_id": None,
        "router_id": None,
        "status": "DOWN",
        "port_forwardings": [],
        **other,
    }


UNBOUND = {"status": "DOWN", "binding:host_id": "", "binding:vif_type": "unbound"}


def answers(layout: str) -> dict[str, list[Item]]:
    """By kind, with the fields that are asked for."""
    ovn_carries = layout == "ovn"
    physical = "extnet" if ovn_carries else None
    owner = "network:distributed" if ovn_carries else "network:dhcp"
    served: dict[str, Any] = dict(UNBOUND) if ovn_carries else {}
    legs: dict[str, Any] = {"binding:host_id": ""} if ovn_carries else {}
    place = "ovnmeta-{}" if ovn_carries else "dhcp5e0f1a2b-{}"
    found = {
        "network": [
            network(
                EXT, "net-ext", **{"router:external": True, "provider:physical_network": physical}
            ),
            network(INT, "net-int"),
        ],
        "subnet": [
            subnet(
                *(SUB_EXT, EXT, "sub-ext", "10.50.14.0/24", "10.50.14.1"),
                *("10.50.14.51", "10.50.14.57"),
            ),
            subnet(
                *(SUB_INT, INT, "sub-int", "192.168.10.0/24", "192.168.10.1"),
                *("192.168.10.10", "192.168.10.50"),
            ),
        ],
        "port": [
            port(GATEWAY, EXT, "network:router_gateway", ROUTER, "10.50.14.56"),
            port(INTERFACE, INT, "network:router_interface", ROUTER, "192.168.10.1", **legs),
            port(DHCP_EXT, EXT, owner, place.format(EXT), "10.50.14.51", **served),
            port(DHCP_INT, INT, owner, place.format(INT), "192.168.10.10", **served),
            server_port(PORT_ONE, ONE, "192.168.10.30", not ovn_carries),
            server_port(PORT_TWO, TWO, "192.168.10.31", not ovn_carries),
            port(PORT_WEB, INT, "Octavia", "lb-1", "192.168.10.40", **UNBOUND),
            port("f1", EXT, "network:floatingip", "10.50.14.57", "10.50.14.57", **UNBOUND),
        ],
        "router": [
            {
                "id": ROUTER,
                "name": "router1",
                "admin_state_up": True,
                "routes": [{"destination": "10.9.0.0/16", "nexthop": "192.168.10.30"}],
            }
        ],
        "floatingip": [
            floating("10.50.14.57", port_id=PORT_ONE, router_id=ROUTER, status="ACTIVE"),
            floating("10.50.14.52"),
            floating(
                "10.50.14.53",
                router_id=ROUTER,
                port_forwardings=[
                    {
                        "protocol": "tcp",
                        "external_port": 2222,
                        "internal_ip_address": "192.168.10.31",
                        "internal_port": 22,
                    }
                ],
            ),
        ],
    }
    for kind, items in found.items():
        assert all(set(item) == set(FIELDS[kind]) for item in items), kind
    return found


def gathered(layout: str, **other: Any) -> Gathered:
    kinds = answers(layout)
    asked = tables.read(said(f"{layout}.ovs-vsctl"), switch.QUESTIONS)
    layer = None
    spaces = {f"qdhcp-{EXT}", f"qdhcp-{INT}", f"qrouter-{ROUTER}"}
    if layout == "ovn":
        layer = ovn.ovn(
            tables.read(said("ovn.ovn-nbctl"), ovn.NORTHBOUND),
            tables.read(said("ovn.ovn-sbctl"), ovn.SOUTHBOUND),
        )
        spaces = {f"ovnmeta-{INT}"}
    found: dict[str, Any] = {
        "networks": kinds["network"],
        "subnets": kinds["subnet"],
        "ports": kinds["port"],
        "routers": kinds["router"],
        "floating": kinds["floatingip"],
        "servers": {ONE: "one", TWO: "two"},
        "active": frozenset({ONE, TWO}),
        "balancers": [{"id": "lb-1", "name": "web", "vip_port_id": PORT_WEB}],
        "switch": switch.switch(asked),
        "ovn": layer,
        "addresses": {"br-ex": ["10.50.14.1/24"] if layout == "ovn" else []},
        "namespaces": frozenset(spaces),
    }
    return Gathered(**{**found, **other})


def pinned(chassis: bool = True) -> Gathered:
    """OVN's cloud where the external network is tunnelled: neutron pins its router whole.

    Without a ``chassis``, none has been chosen.
    """
    north = tables.read(said("ovn.ovn-nbctl"), ovn.NORTHBOUND)
    south = tables.read(said("ovn.ovn-sbctl"), ovn.SOUTHBOUND)
    (known,) = south["Chassis"]
    (router,) = north["Logical_Router"]
    if chassis:
        router["options"] = {**router["options"], "chassis": known["name"]}
    for row in north["Logical_Router_Port"]:
        row["ha_chassis_group"] = []
    places = [r for r in south["Port_Binding"] if not r["logical_port"].startswith(("cr-", "prov"))]
    for row in places if chassis else ():
        if row["logical_port"].removeprefix("lrp-") in (GATEWAY, INTERFACE):
            row["chassis"] = known["_uuid"]
    south["Port_Binding"] = places
    north["Logical_Switch_Port"] = []
    networks = answers("ovn")["network"]
    networks[0] |= {
        "provider:network_type": "geneve",
        "provider:physical_network": None,
        "provider:segmentation_id": 7,
    }
    return gathered("ovn", ovn=ovn.ovn(north, south), networks=networks)


def setting(layout: str, **other: Any) -> Setting:
    own: Sequence[str] = ("10.50.14.1/24",) if layout == "ovn" else ()
    given: dict[str, Any] = {
        "cloud": "onestack",
        "layout": layout,
        "host": HOST,
        "datapath": "netdev",
        "integration": "br-int",
        "tunnels": "br-tun",
        "external": "br-ex",
        "mappings": {"extnet": "br-ex"},
        "key": "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS",
        "own": {"br-ex": own},
        "keepers": frozenset({"octavia-management"}),
    }
    return Setting(**{**given, **other})


def picture(
    layout: str,
    found: Gathered | None = None,
    unready: Mapping[str, str] | None = None,
    **given: Any,
) -> Picture:
    """Drawn and judged."""
    found = found or gathered(layout)
    nics = NICS if layout == "openvswitch" else {}
    chosen = setting(layout, **given)
    return judge(chosen, found, draw(chosen, found, nics), unready or {})


def without(layout: str, table: str, unwanted: Callable[[Item], bool]) -> switch.Switch:
    """The switch of the layout's cloud, but for some rows of one of its tables."""
    asked = tables.read(said(f"{layout}.ovs-vsctl"), switch.QUESTIONS)
    asked[table] = [row for row in asked[table] if not unwanted(row)]
    return switch.switch(asked)


def plain(value: Picture) -> Any:
    return json.loads(json.dumps(value.to_json()))
