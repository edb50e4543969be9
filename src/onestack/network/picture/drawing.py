"""From what was gathered to a picture of it: names for ids, devices for ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from onestack.network.picture.gathered import Gathered, Item, of_server
from onestack.network.picture.model import (
    Bridge,
    Forwarding,
    Kind,
    Network,
    Nic,
    Patch,
    Picture,
    Plug,
    Port,
    Router,
    Subnet,
    Tunnel,
)
from onestack.network.picture.switch import PATCH, Interface

OUTSIDE, INTEGRATION, TUNNELS, OTHER = "outside", "integration", "tunnels", "other"
DEAD = 4095
"""The VLAN that ports are in until the agent has wired them."""
OWNERS = {
    "network:router_gateway": Kind.GATEWAY,
    "network:router_interface": Kind.INTERFACE,
    "network:dhcp": Kind.DHCP,
    "network:distributed": Kind.METADATA,
    "Octavia": Kind.BALANCER,
    "ovn-lb:vip": Kind.BALANCER,
    "onestack:management": Kind.HOST,
}
PREFIXES = {Kind.GATEWAY: "qg-", Kind.INTERFACE: "qr-", Kind.DHCP: "tap", Kind.SERVER: "tap"}
"""Of devices' names, which go on with the beginning of the port's id."""
LED = "network:floatingip"
"""Owner of what only keeps a floating address."""
STATELESS = (Kind.METADATA, Kind.BALANCER)
"""Kinds whose status is DOWN whatever they do: no device is theirs alone, or none at all."""


@dataclass(frozen=True)
class Setting:
    """What the cloud's answers say, and its names."""

    cloud: str
    layout: str
    host: str
    datapath: str
    integration: str
    tunnels: str
    external: str
    """Where routers' legs go whose network says nothing else; may be empty."""
    mappings: Mapping[str, str]
    """Physical network to bridge."""
    key: str
    """The answer that has them."""
    own: Mapping[str, Sequence[str]]
    """Bridge to the addresses that the machine is to have on it."""
    keepers: frozenset[str] = frozenset()
    """Processes that there are to keep this machine's own ports."""

    @property
    def outside(self) -> list[str]:
        return list(dict.fromkeys((*self.mappings.values(), *self.own, *self._external)))

    @property
    def _external(self) -> tuple[str, ...]:
        return (self.external,) if self.external else ()

    @property
    def ovn(self) -> bool:
        return self.layout == "ovn"


def draw(setting: Setting, found: Gathered, nics: Mapping[str, Sequence[Nic]]) -> Picture:
    """``nics`` are those that the answers put into each bridge."""
    return _Drawing(setting, found, nics).picture()


class _Drawing:
    def __init__(
        self, setting: Setting, found: Gathered, nics: Mapping[str, Sequence[Nic]]
    ) -> None:
        self._setting = setting
        self._found = found
        self._nics = nics
        self._plugs = found.switch.plugs() if found.switch else {}
        self._servers = found.servers or {}
        self._routers = {each["id"]: each["name"] for each in found.routers}
        self._balancers = {each["vip_port_id"]: each["name"] for each in found.balancers}
        self._ids = {each["id"] for each in found.ports}

    def picture(self) -> Picture:
        setting, switch = self._setting, self._found.switch
        networks = sorted(map(self._network, self._found.networks), key=_by_name)
        return Picture(
            cloud=setting.cloud,
            layout=setting.layout,
            host=setting.host,
            datapath=setting.datapath,
            seen=switch is not None,
            bridges=tuple(self._bridges()),
            networks=tuple(networks),
            routers=tuple(sorted(map(self._router, self._found.routers), key=_by_name)),
        )

    # -- ports -------------------------------------------------------------

    @cached_property
    def _ports(self) -> dict[str, list[Port]]:
        """By network."""
        made: dict[str, list[Port]] = {}
        for each in self._found.ports:
            if each["device_owner"] != LED:
                made.setdefault(each["network_id"], []).append(self._port(each))
        return made

    def _port(self, port: Item) -> Port:
        kind = self._kind(port)
        logical = f"lrp-{port['id']}" if self._setting.ovn and kind in _LEGS else ""
        host = port.get("binding:host_id") or ""
        if logical and kind is Kind.GATEWAY and self._found.ovn:
            places = self._found.ovn.places
            # A router that is pinned to a chassis whole has no port of that name.
            host = places.get(f"cr-{logical}") or places.get(logical, "")
        return Port(
            id=port["id"],
            kind=kind,
            name=self._name(port, kind),
            owner=port["device_owner"],
            of=port["device_id"],
            network=port["network_id"],
            mac=port["mac_address"],
            addresses=tuple(each["ip_address"] for each in port["fixed_ips"]),
            status="" if kind in STATELESS or self._rests(port, kind) else port["status"],
            enabled=port["admin_state_up"],
            host=host,
            binding=port.get("binding:vif_type") or "",
            floating=tuple(self._floating.get(port["id"], ())),
            balancer=self._balancer(port) if kind is Kind.SERVER else "",
            device=self._device(port, kind),
            plug=self._plugs.get(port["id"]),
            namespace=self._namespace(port, kind),
            logical=logical,
            there=not (logical and self._found.ovn) or logical in self._found.ovn.scheduled,
        )

    def _kind(self, port: Item) -> Kind:
        if port["id"] in self._balancers:
            return Kind.BALANCER
        return Kind.SERVER if of_server(port) else OWNERS.get(port["device_owner"], Kind.OTHER)

    def _rests(self, port: Item, kind: Kind) -> bool:
        """Whether nobody uses it: it is bound to no host, and DOWN as long as that is so."""
        legs = self._setting.ovn and kind in _LEGS
        return legs or (kind is Kind.OTHER and not port.get("binding:host_id"))

    def _name(self, port: Item, kind: Kind) -> str:
        of, own, identity = (str(port[key]) for key in ("device_id", "name", "id"))
        match kind:
            case Kind.SERVER:
                return self._servers.get(of) or own or of
            case Kind.GATEWAY | Kind.INTERFACE:
                return self._routers.get(of) or of
            case Kind.BALANCER:
                return self._balancers.get(identity) or own or identity
        return own or identity

    def _balancer(self, port: Item) -> str:
        pairs = (pair["ip_address"] for pair in port.get("allowed_address_pairs") or ())
        keys = ((port["network_id"], address) for address in pairs)
        return next((self._fronts[key] for key in keys if key in self._fronts), "")

    @cached_property
    def _fronts(self) -> dict[tuple[str, str], str]:
        """Network and address to the load balancer that has it."""
        return {
            (port["network_id"], fixed["ip_address"]): self._balancers[port["id"]]
            for port in self._found.ports
            if port["id"] in self._balancers
            for fixed in port["fixed_ips"]
        }

    def _device(self, port: Item, kind: Kind) -> str:
        if kind is Kind.METADATA:
            return f"tap{port['network_id'][:10]}0"
        prefix = "" if self._setting.ovn and kind is not Kind.SERVER else PREFIXES.get(kind, "")
        if kind is Kind.SERVER and (port.get("binding:vif_details") or {}).get("ovs_hybrid_plug"):
            prefix = "qvo"
        return f"{prefix}{port['id'][:11]}" if prefix else ""

    def _namespace(self, port: Item, kind: Kind) -> str:
        """The network namespace that its device is in, by neutron's rules."""
        match kind:
            case Kind.METADATA:
                return f"ovnmeta-{port['network_id']}"
            case Kind.DHCP:
                return f"qdhcp-{port['network_id']}"
            case Kind.GATEWAY | Kind.INTERFACE if not self._setting.ovn:
                return f"qrouter-{port['device_id']}"
        return ""

    @cached_property
    def _floating(self) -> dict[str, list[str]]:
        """Ports to the addresses that lead to them."""
        made: dict[str, list[str]] = {}
        for each in self._found.floating:
            if each["port_id"]:
                made.setdefault(each["port_id"], []).append(each["floating_ip_address"])
        return made

    # -- networks and routers ----------------------------------------------

    @cached_property
    def _subnets(self) -> dict[str, list[Subnet]]:
        """By network."""
        made: dict[str, list[Subnet]] = {}
        for each in self._found.subnets:
            made.setdefault(each["network_id"], []).append(self._subnet(each))
        return made

    def _subnet(self, subnet: Item) -> Subnet:
        options = self._found.ovn.options.get(subnet["id"]) if self._found.ovn else None
        return Subnet(
            id=subnet["id"],
            name=subnet["name"],
            cidr=subnet["cidr"],
            gateway=subnet["gateway_ip"] or "",
            version=subnet["ip_version"],
            pools=tuple((pool["start"], pool["end"]) for pool in subnet["allocation_pools"]),
            dhcp=subnet["enable_dhcp"],
            options=dict(options) if options is not None else None,
        )

    def _network(self, network: Item) -> Network:
        identity, ovn = network["id"], self._found.ovn
        ports = sorted(self._ports.get(identity, []), key=_in_order)
        switch = f"neutron-{identity}" if self._setting.ovn else ""
        return Network(
            id=identity,
            name=network["name"],
            external=network["router:external"],
            shared=network["shared"],
            enabled=network["admin_state_up"],
            kind=network.get("provider:network_type") or "",
            physical=network.get("provider:physical_network") or "",
            segment=network.get("provider:segmentation_id"),
            bridge=self._bridge_of(network),
            subnets=tuple(sorted(self._subnets.get(identity, []), key=_by_name)),
            ports=tuple(ports),
            tag=self._tag(port.plug for port in ports),
            switch=switch,
            localnet=ovn.switches.get(switch, "") if ovn else "",
            unused=tuple(
                each["floating_ip_address"]
                for each in self._found.floating
                if each["floating_network_id"] == identity
                and not each["port_id"]
                and not each.get("port_forwardings")
            ),
        )

    def _bridge_of(self, network: Item) -> str:
        """Where it leads out: by its physical network, or as the agent plugs routers' legs."""
        physical = network.get("provider:physical_network")
        if physical:
            return self._setting.mappings.get(physical, "")
        legs = network["router:external"] and not self._setting.ovn
        return self._setting.external if legs else ""

    def _tag(self, plugs: Iterable[Plug | None]) -> int | None:
        counted = Counter(
            plug.tag
            for plug in plugs
            if plug and plug.bridge == self._setting.integration and plug.tag not in (None, DEAD)
        )
        return counted.most_common(1)[0][0] if counted else None

    def _router(self, router: Item) -> Router:
        identity = router["id"]
        legs = [p for each in self._ports.values() for p in each if p.of == identity]
        kind = "neutron" if self._setting.ovn else "qrouter"
        return Router(
            id=identity,
            name=router["name"],
            enabled=router["admin_state_up"],
            place=f"{kind}-{identity}",
            gateways=tuple(leg for leg in legs if leg.kind is Kind.GATEWAY),
            interfaces=tuple(leg for leg in legs if leg.kind is Kind.INTERFACE),
            routes=tuple((each["destination"], each["nexthop"]) for each in router["routes"]),
            forwardings=tuple(self._forwardings(identity)),
        )

    def _forwardings(self, router: str) -> Iterator[Forwarding]:
        for each in self._found.floating:
            for one in (each["router_id"] == router and each.get("port_forwardings")) or ():
                yield Forwarding(
                    f"{each['floating_ip_address']}:{one['external_port']}",
                    f"{one['internal_ip_address']}:{one['internal_port']}",
                    one["protocol"],
                )

    # -- bridges -----------------------------------------------------------

    def _bridges(self) -> Iterator[Bridge]:
        switch, setting = self._found.switch, self._setting
        known = [(name, OUTSIDE) for name in setting.outside]
        known += [(setting.integration, INTEGRATION)]
        there = switch.bridges if switch else {}
        if setting.tunnels in there and not setting.ovn:
            known.append((setting.tunnels, TUNNELS))
        named = {name for name, _ in known}
        known += [(name, OTHER) for name in sorted(there) if name not in named]
        for name, role in known:
            yield self._bridge(name, role)

    def _bridge(self, name: str, role: str) -> Bridge:
        setting, switch = self._setting, self._found.switch
        own = switch.bridges.get(name) if switch else None
        interfaces = switch.of(name) if switch else []
        nics = self._nics_of(name, interfaces)
        made = Bridge(
            name=name,
            role=role,
            # where the switch says nothing, nothing is said against it
            there=switch is None or own is not None,
            physical=tuple(n for n, bridge in setting.mappings.items() if bridge == name),
            addresses=tuple(self._found.addresses.get(name, ())),
            nics=tuple(nics),
        )
        if own is None or switch is None:
            return made
        told = {name, *(nic.port for nic in nics)}
        patches = [each for each in interfaces if each.kind == PATCH]
        tunnels = [each for each in interfaces if each.remote]
        others = [
            each.name
            for each in interfaces
            if each.name not in told
            and each not in (*patches, *tunnels)
            and each.port not in self._ids
        ]
        return replace(
            made,
            fail_mode=own.fail_mode,
            controller=own.controller,
            connected=own.connected,
            patches=tuple(self._patch(each) for each in patches),
            tunnels=tuple(Tunnel(each.name, each.kind, each.remote) for each in tunnels),
            others=tuple(sorted(others)),
        )

    def _patch(self, patch: Interface) -> Patch:
        peer = self._found.switch.named(patch.peer) if self._found.switch else None
        return Patch(patch.name, patch.peer, peer.bridge if peer else "")

    def _nics_of(self, bridge: str, interfaces: Sequence[Interface]) -> list[Nic]:
        """What the answers put there, and devices that somebody else has added by hand."""
        named = list(self._nics.get(bridge, ()))
        known = {nic.port for nic in named}
        if bridge not in self._setting.outside:
            return named
        return named + [
            Nic(each.name, "", each.name, tuple(self._found.addresses.get(each.name, ())))
            for each in interfaces
            if not each.kind and not each.port and each.name not in known
        ]


_LEGS = (Kind.GATEWAY, Kind.INTERFACE)
_ORDER = list(Kind)


def _by_name(each: Network | Router | Subnet) -> tuple[str, str]:
    return each.name, each.id


def _in_order(port: Port) -> tuple[int, str, str]:
    return _ORDER.index(port.kind), port.name, port.id
