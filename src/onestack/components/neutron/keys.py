"""Neutron's answer keys, and what cannot be said together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from onestack.answers.values import Answers, split
from onestack.components import openstack
from onestack.model.key import Key, Kind
from onestack.model.secret import OF_AGENTS, Secret
from onestack.network.wiring import Wiring

FWAAS = "CONFIG_NEUTRON_FWAAS"
PROJECT_TYPES = "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"
VLAN_RANGES = "CONFIG_NEUTRON_ML2_VLAN_RANGES"
TYPES = {
    "ovn": ("local", "flat", "vlan", "geneve"),
    "openvswitch": ("local", "flat", "vlan", "vxlan", "gre", "geneve"),
}
"""Kinds of networks that each mechanism can carry."""
USUAL_TYPES = {**TYPES, "openvswitch": ("local", "flat", "vlan", "vxlan")}
"""Those that can be made where the answers name none."""


DRIVERS = ("ovn", "openvswitch", "l2population")
GONE = ("linuxbridge", "hyperv", "mlnx", "ncs", "arista", "cisco_nexus", "logger", "test")
"""Mechanism drivers of packstack's that nothing is lost with: another one does the work."""


def _each(pattern: str, say: str) -> Callable[[str], str | None]:
    """A check that every comma-separated part of a value matches ``pattern``."""

    def check(text: str) -> str | None:
        wrong = [part for part in split(text) if not re.fullmatch(pattern, part)]
        return f"{wrong[0]!r} is not {say}" if wrong else None

    return check


_types = _each(
    "local|flat|vlan|gre|vxlan|geneve",
    "one of local, flat, vlan, gre, vxlan, geneve",
)
DEVICE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"
"""No kernel takes a longer name, and no program a name that begins as an option."""
SUBNET = r"[\d.]+/\d+"
_mappings = _each(rf"[\w.-]+:{DEVICE}", "PHYSICAL_NETWORK:BRIDGE, such as extnet:br-ex")
_interfaces = _each(rf"{DEVICE}:({DEVICE}|{SUBNET})", "BRIDGE:NIC, such as br-ex:eno1")
_vlan_shape = _each(r"[\w.-]+(:\d+:\d+)?", "PHYSICAL_NETWORK or PHYSICAL_NETWORK:LOW:HIGH")


def _within(lowest: int, highest: int) -> Callable[[str], str | None]:
    shape = _each(r"\d+:\d+", "LOW:HIGH, such as 1:2000")

    def check(text: str) -> str | None:
        return shape(text) or _backwards(text, lowest, highest)

    return check


def _backwards(text: str, lowest: int, highest: int) -> str | None:
    for part in split(text):
        low, high = (int(number) for number in part.split(":")[-2:])
        if not lowest <= low <= high <= highest:
            return f"{part.strip()!r} is not LOW:HIGH within {lowest}:{highest}"
    return None


def _vlans(text: str) -> str | None:
    ranges = [part for part in text.split(",") if part.count(":") == 2]
    return _vlan_shape(text) or (_backwards(",".join(ranges), 1, 4094) if ranges else None)


def _wrong_agent(text: str) -> str | None:
    if text.lower() == "linuxbridge":
        return "upstream removed linuxbridge; choose ovn or openvswitch"
    return None


def _wrong_bridge(text: str) -> str | None:
    return None if re.fullmatch(DEVICE, text) else "it is no name of a bridge, such as br-ex"


def _wrong_device(text: str) -> str | None:
    if re.fullmatch(rf"{DEVICE}|{SUBNET}", text):
        return None
    return "it is no name of a network device, such as eno1"


def _wrong_network(text: str) -> str | None:
    fits = re.fullmatch(r"[\w.-]+", text)
    return None if fits else "it is no name of a physical network, such as extnet"


def _wrong_driver(text: str) -> str | None:
    named = split(text)
    if "sriovnicswitch" in named:
        return "SR-IOV is not supported; leave sriovnicswitch out"
    left = [name for name in named if name not in GONE]
    if not left:
        return f"upstream has no {named[0]} any more, or it is no part of neutron; leave it out"
    return _each("|".join(DRIVERS), f"one of {', '.join(DRIVERS)}")(",".join(left))


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
        "NICs to put into bridges, as BRIDGE:NIC,...; one that the machine itself needs goes by a "
        "bridge of the machine's own, which gets its addresses (onestack nic attach).",
        Kind.LIST,
        _interfaces,
    ),
    (
        "EXTERNAL_PHYSNET",
        "extnet",
        "Name of the physical network of the public network.",
        Kind.TEXT,
        _wrong_network,
    ),
    (
        "TUNNEL_IF",
        "",
        "NIC whose address is this host's end of tunnels; empty: the host's main address.",
        Kind.TEXT,
        _wrong_device,
    ),
)

# No agent asks the database, but all of them read neutron.conf, which has the password.
_DATABASE = openstack.database_password("neutron")
_ACCOUNT = openstack.service_password("neutron")

KEYS: tuple[Key, ...] = (
    Key("CONFIG_NEUTRON_INSTALL", "y", "Turn the network service on.", Kind.FLAG),
    Key(
        "CONFIG_NEUTRON_L2_AGENT",
        "",
        "What carries the networks: ovn, or openvswitch (qdhcp- and qrouter- namespaces, br-tun). "
        "Empty: ovn where the machine's Open vSwitch is fit for it, else openvswitch.",
        Kind.CHOICE,
        ("", "ovn", "openvswitch"),
        check=_wrong_agent,
    ),
    Key(
        "CONFIG_USE_SUBNETS",
        "n",
        "Keys that name a NIC may name a subnet instead: the NIC is then the one with an address "
        "in it.",
        Kind.FLAG,
    ),
    Key(
        "CONFIG_NEUTRON_METERING_AGENT_INSTALL",
        "n",
        "Count the traffic of routers by labels (`openstack network meter`). packstack's default "
        "is y.",
        Kind.FLAG,
        note="only openvswitch has such an agent; with ovn nothing is counted",
    ),
    Key(
        "CONFIG_NEUTRON_L3_EXT_BRIDGE",
        "br-ex",
        "Bridge into which routers put their outside leg. 'provider' or nothing: external "
        "networks are provider networks (flat or vlan on a mapped bridge) only.",
        check=_wrong_bridge,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_TYPE_DRIVERS",
        "",
        "Kinds of networks that can be made; local is always among them. Empty: all that the "
        f"agent commonly does ({', '.join(USUAL_TYPES['ovn'])} with ovn; "
        f"{', '.join(USUAL_TYPES['openvswitch'])} with openvswitch, which can do gre too).",
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
        check=_wrong_driver,
    ),
    Key(
        "CONFIG_NEUTRON_ML2_FLAT_NETWORKS",
        "*",
        "Physical networks on which flat networks may be made; * means any.",
        Kind.LIST,
        check=_each(r"[\w.-]+|\*", "a name of a physical network, or *"),
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
        check=_within(1, 2**32 - 1),
    ),
    Key(
        "CONFIG_NEUTRON_ML2_VNI_RANGES",
        # A row of the database each, all read at each start of each server process.
        "1:2000",
        "VXLAN or Geneve ids for project networks, as LOW:HIGH,...; as many networks can be made.",
        Kind.LIST,
        check=_within(1, 2**24 - 1),
    ),
    Key(
        "CONFIG_NEUTRON_ML2_VXLAN_GROUP",
        "",
        "Multicast group for VXLAN; empty uses unicast.",
        Kind.ADDRESS,
    ),
    Key(
        FWAAS,
        "n",
        "Firewall groups on the ports of routers (FWaaS, version 2).",
        Kind.FLAG,
    ),
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
    _DATABASE.key,
    _ACCOUNT.key,
)

SECRETS = (
    _DATABASE.secret,
    _ACCOUNT.secret,
    Secret("neutron_metadata", "CONFIG_NEUTRON_METADATA_PW", roles=OF_AGENTS),
)


def network_types(answers: Answers, agent: str) -> tuple[str, ...]:
    """Kinds of networks that can be made, local always among them (the guide's are)."""
    types = tuple(answers["CONFIG_NEUTRON_ML2_TYPE_DRIVERS"]) or USUAL_TYPES[agent]
    return types if "local" in types else ("local", *types)


def validate(answers: Answers, agent: str) -> Iterable[str]:
    """What the answers say that ``agent`` (``ovn`` or ``openvswitch``) cannot do."""
    yield from _wrong_types(answers, agent)
    wiring = Wiring(answers, agent)
    yield from wiring.validate()
    physical, source = wiring.physical_network, wiring.source("BRIDGE_MAPPINGS")
    mapped = wiring.mapping_pairs
    if agent == "ovn" and physical and mapped and physical not in _known(wiring):
        yield (
            f"{wiring.source('EXTERNAL_PHYSNET')} is {physical}, "
            f"which {source} does not map to a bridge"
        )
    if answers[PROJECT_TYPES] == ("vlan",) and not _has_vlan_range(answers):
        yield (
            f"{PROJECT_TYPES} is vlan, but {VLAN_RANGES} has no range (PHYSICAL_NETWORK:LOW:HIGH) "
            "to take one from"
        )


def _has_vlan_range(answers: Answers) -> bool:
    return any(part.count(":") == 2 for part in answers[VLAN_RANGES])


def mechanism_drivers(answers: Answers, agent: str) -> tuple[str, ...]:
    """Those that are asked for and can be of use."""
    useless = {*GONE, *(("l2population", "openvswitch") if agent == "ovn" else ("ovn",))}
    asked = answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]
    left = tuple(driver for driver in asked if driver not in useless)
    return left if agent in left else (agent, *left)


def remarks(answers: Answers, agent: str) -> Iterable[str]:
    """What counts for nothing with ``agent``, each as a sentence."""
    yield from Wiring(answers, agent).remarks()
    used = mechanism_drivers(answers, agent)
    for driver in answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]:
        if driver in GONE:
            yield (
                f"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS: {driver} counts for nothing; upstream has "
                f"none any more, or it is no part of neutron: {used[0]} carries the networks"
            )
        elif driver not in used:
            yield (
                f"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS: {driver} counts for nothing; {agent}, "
                "which carries the networks, has no use for it"
            )
    yield from _out_of_reach(answers, agent)


def _known(wiring: Wiring) -> set[str]:
    """Physical networks with a bridge, in either layout."""
    outside = [wiring.external_network] if wiring.external_bridge else []
    return {*outside, *(network for network, _ in wiring.mapping_pairs)}


def _out_of_reach(answers: Answers, agent: str) -> Iterable[str]:
    """What networks cannot be made of."""
    wiring = Wiring(answers, agent)
    known = _known(wiring)
    for name in ("CONFIG_NEUTRON_ML2_FLAT_NETWORKS", VLAN_RANGES):
        for network in dict.fromkeys(part.partition(":")[0] for part in answers[name]):
            if network != "*" and network not in known:
                yield (
                    f"{name} has {network}, which {wiring.source('BRIDGE_MAPPINGS')} does not map "
                    "to a bridge: no guest can be on a network of it"
                )
    others = [kind for kind in answers[PROJECT_TYPES] if kind != "vlan"]
    if others and "vlan" in answers[PROJECT_TYPES] and not _has_vlan_range(answers):
        yield f"{PROJECT_TYPES}: vlan counts for nothing, for {VLAN_RANGES} has no range"


def _wrong_types(answers: Answers, agent: str) -> Iterable[str]:
    """Of networks, and their drivers."""
    able = TYPES[agent]
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
