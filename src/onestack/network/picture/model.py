"""What is drawn: plain data, and the form of ``onestack net show --json`` (docs/net.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from onestack.model.findings import Finding


class Kind(StrEnum):
    """What a port is to people."""

    SERVER = "server"
    GATEWAY = "router gateway"
    INTERFACE = "router interface"
    DHCP = "DHCP"
    METADATA = "metadata"
    BALANCER = "load balancer"
    HOST = "this machine"
    OTHER = "other"


@dataclass(frozen=True)
class Plug:
    """A device of the switch that carries a port."""

    device: str
    bridge: str
    tag: int | None = None
    problem: str = ""
    """What the switch says of it."""


@dataclass(frozen=True)
class Port:
    """One of neutron's ports."""

    id: str
    kind: Kind
    name: str
    """Of what has it, for people: a server's name, a router's."""
    owner: str
    """Neutron's ``device_owner``."""
    of: str
    """Neutron's ``device_id``."""
    network: str
    mac: str
    addresses: tuple[str, ...]
    status: str
    """Neutron's, and nothing where neutron keeps none that says something."""
    enabled: bool
    host: str
    """The one that it is bound to; in OVN, of a gateway, the chassis that has it now."""
    binding: str
    """Neutron's ``binding:vif_type``."""
    floating: tuple[str, ...] = ()
    balancer: str = ""
    """The load balancer whose address an amphora's port answers for."""
    device: str = ""
    """As it is called by neutron's rules, there or not."""
    plug: Plug | None = None
    """What is in the switch for it."""
    namespace: str = ""
    logical: str = ""
    """OVN's logical router port, as it is called by neutron's rules."""
    there: bool = True
    """Whether OVN has that one."""


@dataclass(frozen=True)
class Subnet:
    id: str
    name: str
    cidr: str
    gateway: str
    version: int
    pools: tuple[tuple[str, str], ...]
    dhcp: bool
    options: dict[str, str] | None = None
    """What OVN answers by DHCP; ``None`` where it does not."""


@dataclass(frozen=True)
class Network:
    id: str
    name: str
    external: bool
    shared: bool
    enabled: bool
    kind: str
    """Neutron's ``provider:network_type``."""
    physical: str
    segment: int | None
    bridge: str
    """The one to the outside that it leads to by itself, or nothing."""
    subnets: tuple[Subnet, ...]
    ports: tuple[Port, ...]
    tag: int | None = None
    """In the integration bridge."""
    switch: str = ""
    """OVN's logical switch."""
    localnet: str = ""
    """OVN's port of it to the outside."""
    unused: tuple[str, ...] = ()
    """Floating addresses that lead nowhere."""


@dataclass(frozen=True)
class Forwarding:
    """One port of a floating address."""

    outside: str
    inside: str
    protocol: str


@dataclass(frozen=True)
class Router:
    id: str
    name: str
    enabled: bool
    place: str
    """``qrouter-…``, or OVN's logical router."""
    gateways: tuple[Port, ...]
    interfaces: tuple[Port, ...]
    routes: tuple[tuple[str, str], ...] = ()
    """Destination and next hop, beside its own networks."""
    forwardings: tuple[Forwarding, ...] = ()


@dataclass(frozen=True)
class Nic:
    """One of the machine's in a bridge of the switch."""

    name: str
    by: str
    """The machine's own bridge in between, or nothing."""
    port: str
    """Of the switch's bridge."""
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patch:
    """From one bridge to another."""

    port: str
    peer: str
    to: str
    """The peer's bridge; nothing where there is no such peer."""


@dataclass(frozen=True)
class Tunnel:
    port: str
    kind: str
    remote: str


@dataclass(frozen=True)
class Bridge:
    name: str
    role: str
    """``outside``, ``integration``, ``tunnels`` or ``other``."""
    there: bool
    physical: tuple[str, ...]
    """Networks of neutron's that it carries."""
    fail_mode: str = ""
    controller: str = ""
    connected: bool | None = None
    """Whether its controller is there; ``None`` for one without."""
    addresses: tuple[str, ...] = ()
    """The machine's own on it."""
    nics: tuple[Nic, ...] = ()
    patches: tuple[Patch, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    others: tuple[str, ...] = ()
    """Ports that belong to nothing that neutron knows."""


@dataclass(frozen=True)
class Wrong:
    """Something that is not as it should be."""

    about: str
    """The id of a network, router or port, or a bridge's name."""
    finding: Finding

    def to_json(self) -> dict[str, str]:
        return {"about": self.about, **self.finding.to_json()}


@dataclass(frozen=True)
class Picture:
    cloud: str
    layout: str
    """``openvswitch`` or ``ovn``."""
    host: str
    """This one's name."""
    datapath: str
    """``system`` (the kernel's) or ``netdev`` (userspace)."""
    seen: bool
    """Whether the switch could be asked."""
    bridges: tuple[Bridge, ...]
    networks: tuple[Network, ...]
    routers: tuple[Router, ...]
    wrong: tuple[Wrong, ...] = field(default=())

    @property
    def well(self) -> bool:
        return not self.wrong

    def network(self, identity: str) -> Network | None:
        return next((each for each in self.networks if each.id == identity), None)

    def bridge(self, name: str) -> Bridge | None:
        return next((each for each in self.bridges if each.name == name), None)

    def to_json(self) -> dict[str, Any]:
        found = asdict(self)
        del found["wrong"]
        return {**found, "well": self.well, "findings": [each.to_json() for each in self.wrong]}
