"""Neutron's answer keys, and what cannot be said together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from onestack.answers.key import Key, Kind
from onestack.answers.values import Answers
from onestack.components.neutron import fwaas

OVN_TYPES = ("local", "flat", "vlan", "geneve")
OPENVSWITCH_TYPES = ("local", "flat", "vlan", "vxlan", "gre")
OPENVSWITCH_DEFAULT = ("local", "flat", "vlan", "vxlan")


def _each(pattern: str, say: str) -> Callable[[str], str | None]:
    """A check that every comma-separated part of a value matches ``pattern``."""

    def check(text: str) -> str | None:
        wrong = [p for p in (p.strip() for p in text.split(",")) if not re.fullmatch(pattern, p)]
        return f"{wrong[0]!r} is not {say}" if wrong else None

    return check


_types = _each(
    "local|flat|vlan|gre|vxlan|geneve",
    "one of local, flat, vlan, gre, vxlan, geneve",
)
_mappings = _each(r"[\w.-]+:[\w.-]{1,15}", "PHYSICAL_NETWORK:BRIDGE, such as extnet:br-ex")
_interfaces = _each(r"[\w.-]{1,15}:[\w.-]{1,15}", "BRIDGE:NIC, such as br-ex:eno1")
_ranges = _each(r"\d+:\d+", "LOW:HIGH, such as 1:2000")
_vlans = _each(r"[\w.-]+(:\d+:\d+)?", "PHYSICAL_NETWORK or PHYSICAL_NETWORK:LOW:HIGH")
_subnets = _each(r"[\d.]+/\d+", "a subnet such as 192.0.2.0/24")

_BRIDGE_TWINS = (
    (
        "BRIDGE_MAPPINGS",
        "extnet:br-ex",
        "Which bridge carries each physical network, as PHYSICAL_NETWORK:BRIDGE,...",
        Kind.LIST,
        _mappings,
    ),
    (
        "BRIDGE_IFACES",
        "",
        "NICs to put into bridges, as BRIDGE:NIC,...; their addresses move to the bridge.",
        Kind.LIST,
        _interfaces,
    ),
    (
        "BRIDGES_COMPUTE",
        "",
        "Bridges of the mapping that compute hosts need too (on one machine: all are there).",
        Kind.LIST,
        None,
    ),
    (
        "EXTERNAL_PHYSNET",
        "extnet",
        "Name of the physical network of the public network.",
        Kind.TEXT,
        None,
    ),
    (
        "TUNNEL_IF",
        "",
        "NIC whose address is this host's end of tunnels; empty: the host's main address.",
        Kind.TEXT,
        None,
    ),
    (
        "TUNNEL_SUBNETS",
        "",
        "Subnets whose hosts may send tunnel packets here.",
        Kind.LIST,
        _subnets,
    ),
)

KEYS: tuple[Key, ...] = (
    Key("CONFIG_NEUTRON_INSTALL", "y", "Turn the network service on.", Kind.FLAG),
    Key(
        "CONFIG_NEUTRON_L2_AGENT",
        "",
        "What carries the networks: ovn, or openvswitch (qdhcp- and qrouter- namespaces, br-tun). "
        "Empty: ovn where the machine's Open vSwitch is fit for it, else openvswitch.",
        Kind.CHOICE,
        ("", "ovn", "openvswitch"),
    ),
    Key(
        "CONFIG_NEUTRON_L3_EXT_BRIDGE",
        "br-ex",
        "Bridge into which routers put their outside leg. 'provider' or nothing: external "
        "networks are provider networks (flat or vlan on a mapped bridge) only.",
    ),
    Key(
        "CONFIG_NEUTRON_ML2_TYPE_DRIVERS",
        "",
        "Kinds of networks that can be made; local is always among them. Empty: all that the "
        f"agent commonly does ({', '.join(OVN_TYPES)} with ovn; "
        f"{', '.join(OPENVSWITCH_DEFAULT)} with openvswitch, which can do gre too).",
        Kind.LIST,
        check=_types,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES",
        "",
        "Kinds of networks that projects get, first one first. Empty: geneve with ovn, vxlan "
        "with openvswitch.",
        Kind.LIST,
        check=_types,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS",
        "",
        "ML2 mechanism drivers. Empty: the one that belongs to CONFIG_NEUTRON_L2_AGENT.",
        Kind.LIST,
        check=_each("ovn|openvswitch|l2population", "one of ovn, openvswitch, l2population"),
    ),
    Key(
        "CONFIG_NEUTRON_ML2_FLAT_NETWORKS",
        "*",
        "Physical networks on which flat networks may be made; * means any.",
        Kind.LIST,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_VLAN_RANGES",
        "",
        "VLANs on physical networks, as PHYSICAL_NETWORK[:LOW:HIGH],...",
        Kind.LIST,
        check=_vlans,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES",
        "1:1000",
        "GRE keys for project networks, as LOW:HIGH,...",
        Kind.LIST,
        check=_ranges,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_VNI_RANGES",
        # A row of the database each, all read at each start of each server process.
        "1:2000",
        "VXLAN or Geneve ids for project networks, as LOW:HIGH,...; as many networks can be made.",
        Kind.LIST,
        check=_ranges,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_VXLAN_GROUP",
        "",
        "Multicast group for VXLAN; empty uses unicast.",
        Kind.ADDRESS,
    ),
    fwaas.KEY,
    Key("CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT", "4789", "UDP port of VXLAN tunnels.", Kind.NUMBER),
    *(
        Key(f"CONFIG_NEUTRON_{agent}_{name}", default, f"{text} ({word})", kind, check=check)
        for agent, word in (("OVS", "openvswitch"), ("OVN", "ovn"))
        for name, default, text, kind, check in _BRIDGE_TWINS
    ),
    Key(
        "CONFIG_NEUTRON_METADATA_PW",
        "PW_PLACEHOLDER",
        "Secret with which the metadata proxy signs its requests.",
        Kind.SECRET,
    ),
    Key(
        "CONFIG_NEUTRON_DB_PW",
        "PW_PLACEHOLDER",
        "Password of the database user of networks.",
        Kind.SECRET,
    ),
    Key(
        "CONFIG_NEUTRON_KS_PW",
        "PW_PLACEHOLDER",
        "Password of the service user of networks.",
        Kind.SECRET,
    ),
)


def contradictions(answers: Answers, agent: str) -> Iterable[str]:
    """What the answers say that ``agent`` (``ovn`` or ``openvswitch``) cannot do."""
    able = OVN_TYPES if agent == "ovn" else OPENVSWITCH_TYPES
    types = tuple(answers["CONFIG_NEUTRON_ML2_TYPE_DRIVERS"])
    for name in ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"):
        for kind in answers[name]:
            if kind not in able:
                yield (
                    f"{name} has {kind}, which {agent} cannot carry; it can do {', '.join(able)}"
                )
    for kind in answers["CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"]:
        if types and kind not in (*types, "local"):
            yield (
                f"CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES has {kind}, "
                "which CONFIG_NEUTRON_ML2_TYPE_DRIVERS leaves out"
            )
    for driver in answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]:
        if driver in ("ovn", "openvswitch") and driver != agent:
            yield (f"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS has {driver}, but the agent is {agent}")
        if driver == "l2population" and agent == "ovn":
            yield "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS has l2population, which ovn has no use for"
    physical = answers[f"CONFIG_NEUTRON_{'OVN' if agent == 'ovn' else 'OVS'}_EXTERNAL_PHYSNET"]
    mappings = answers[f"CONFIG_NEUTRON_{'OVN' if agent == 'ovn' else 'OVS'}_BRIDGE_MAPPINGS"]
    if agent == "ovn" and physical and mappings and physical not in dict(_pairs(mappings)):
        yield (
            f"CONFIG_NEUTRON_OVN_EXTERNAL_PHYSNET is {physical}, "
            "which CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS does not map to a bridge"
        )


def _pairs(mappings: Iterable[str]) -> Iterable[tuple[str, str]]:
    for mapping in mappings:
        network, _, bridge = mapping.partition(":")
        yield network, bridge
