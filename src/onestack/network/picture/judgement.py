"""What of a picture is not as it should be, each with its cause and a cure.

Only what is sure counts: a port of a server that is switched off is DOWN as it should be.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from onestack.model.findings import Finding, refuse
from onestack.network.picture.drawing import (
    DEAD,
    INTEGRATION,
    OTHER,
    OUTSIDE,
    TUNNELS,
    Setting,
)
from onestack.network.picture.gathered import Gathered
from onestack.network.picture.model import Bridge, Kind, Network, Picture, Port, Router, Wrong

KEEPER = "external-bridge"
SWITCH_AGENT, DHCP_AGENT, L3_AGENT = (
    "neutron-openvswitch-agent",
    "neutron-dhcp-agent",
    "neutron-l3-agent",
)
CONTROLLER, OVN_AGENT, WORKERS = "ovn-controller", "neutron-ovn-agent", "neutron-workers"
FAILED = "binding_failed"
RESERVED = "reserved_dhcp_port"
"""``device_id`` of a DHCP server's port that keeps an address until there is a server again."""
OF_AGENTS = {Kind.DHCP: DHCP_AGENT, Kind.GATEWAY: L3_AGENT, Kind.INTERFACE: L3_AGENT}
"""Who makes the devices of which ports."""


def judge(
    setting: Setting, found: Gathered, picture: Picture, unready: Mapping[str, str]
) -> Picture:
    """``picture`` with what is wrong in it.

    ``unready`` are the processes of networks that are not ready, and what is said of each.
    """
    wrong = list(_Judge(setting, found, picture, unready).all())
    causes = "\n".join(each.finding.why for each in wrong)
    for process, said in unready.items():
        # One that is no cause of anything yet.
        if f"{process}: {said}" not in causes:
            cure = _restart(process)
            wrong.append(Wrong("", refuse(f"{process} is not ready", f"{process}: {said}", cure)))
    return replace(picture, wrong=tuple(wrong))


@dataclass(frozen=True)
class _Judge:
    setting: Setting
    found: Gathered
    picture: Picture
    unready: Mapping[str, str]

    def all(self) -> Iterator[Wrong]:
        for silent in self.found.silent:
            yield Wrong("", silent)
        for bridge in self.picture.bridges:
            for finding in self.bridge(bridge):
                yield Wrong(bridge.name, finding)
        for network in self.picture.networks:
            for finding in self.network(network):
                yield Wrong(network.id, finding)
            for port in network.ports:
                if found := self.port(port, network):
                    yield Wrong(port.id, found)
        for router in self.picture.routers:
            for finding in self.router(router):
                yield Wrong(router.id, finding)
            yield from self.legs(router)
        yield from self.floating()

    def undone(self, what: str, process: str, why: str = "") -> Finding:
        """Something that ``process`` has not done, or not yet."""
        if said := self.unready.get(process):
            return refuse(what, f"{process}: {said}", _restart(process))
        return refuse(
            what,
            why or f"{process} does that, and is ready: it has not got to it yet, or failed",
            _later(f"onestack restart {process}"),
        )

    # -- bridges -------------------------------------------------------------

    def bridge(self, bridge: Bridge) -> Iterator[Finding]:
        if bridge.role == OTHER:
            return
        if not bridge.there:
            yield self.undone(f"there is no bridge {bridge.name}", self._maker(bridge))
            return
        if bridge.connected is False and not self.setting.ovn:
            yield self.undone(
                f"nobody tells {bridge.name} what to do with packets",
                SWITCH_AGENT,
                f"its controller {bridge.controller} does not answer it",
            )
        present = {ipaddress.ip_interface(address) for address in bridge.addresses}
        for address in self.setting.own.get(bridge.name, ()):
            if ipaddress.ip_interface(address) not in present:
                yield self.undone(f"the machine has no address {address} on {bridge.name}", KEEPER)
        # The other end is what counts: a bridge that nothing maps any more may be gone.
        for patch in bridge.patches if bridge.role != INTEGRATION else ():
            if not patch.to:
                what = f"{patch.port} in {bridge.name} leads nowhere: there is no {patch.peer}"
                yield self.undone(what, self._patcher)
        yield from self._unjoined(bridge)

    def _maker(self, bridge: Bridge) -> str:
        return KEEPER if bridge.role == OUTSIDE else self._patcher

    @property
    def _patcher(self) -> str:
        return CONTROLLER if self.setting.ovn else SWITCH_AGENT

    def _unjoined(self, bridge: Bridge) -> Iterator[Finding]:
        middle = self.picture.bridge(self.setting.integration)
        joins = (bridge.role == OUTSIDE and bridge.physical) or bridge.role == TUNNELS
        if not (self.found.switch and middle and middle.there and joins):
            return
        if any(patch.to == middle.name for patch in bridge.patches):
            return
        if self.setting.ovn and not self._is_needed(bridge):
            return
        what = f"no patch port joins {bridge.name} to {middle.name}"
        # one that leads nowhere has been told of
        if not any(not patch.to for patch in bridge.patches):
            yield self.undone(what, self._patcher)

    def _is_needed(self, bridge: Bridge) -> bool:
        """OVN joins a bridge when something here uses a network of it."""
        used = [each for each in self.picture.networks if each.bridge == bridge.name]
        return any(self._is_in_ovn(port) for each in used if each.localnet for port in each.ports)

    def _is_in_ovn(self, port: Port) -> bool:
        """Whether this host's chassis has it.

        A device alone says nothing: the switch keeps those of servers that were ended with the
        machine.
        """
        if port.kind is Kind.GATEWAY:
            return self._is_here(port)
        places = self.found.ovn.places if self.found.ovn else {}
        return port.kind is Kind.SERVER and places.get(port.id) == self.setting.host

    # -- networks and routers ------------------------------------------------

    def network(self, network: Network) -> Iterator[Finding]:
        if network.physical and not network.bridge:
            yield refuse(
                f"the network {network.name} leads nowhere",
                f"no bridge is mapped to its physical network {network.physical}",
                f"onestack up --set {self.setting.key}=…,{shlex.quote(network.physical)}:BRIDGE",
            )
        if self.setting.ovn:
            yield from self._in_ovn(network)
        elif self._is_served(network):
            yield from self._served(network)

    def _is_served(self, network: Network) -> bool:
        return network.enabled and any(subnet.dhcp for subnet in network.subnets)

    def _served(self, network: Network) -> Iterator[Finding]:
        servers = [p for p in network.ports if p.kind is Kind.DHCP and p.of != RESERVED]
        if not servers:
            yield self.undone(f"the network {network.name} has no DHCP server", DHCP_AGENT)
        for space in sorted({port.namespace for port in servers if self._is_here(port)}):
            if space not in self.found.namespaces:
                yield self.undone(f"the namespace {space} of {network.name} is missing", DHCP_AGENT)

    def _in_ovn(self, network: Network) -> Iterator[Finding]:
        ovn = self.found.ovn
        if ovn is None:
            return
        if network.switch not in ovn.switches:
            yield self.undone(f"OVN has no logical switch of the network {network.name}", WORKERS)
            return
        for subnet in network.subnets:
            if subnet.dhcp and subnet.version == 4 and subnet.options is None:
                what = f"OVN answers no DHCP on {subnet.name or subnet.cidr} of {network.name}"
                yield self.undone(what, WORKERS)
        yield from self._metadata(network)

    def _metadata(self, network: Network) -> Iterator[Finding]:
        """It is there from the network's first server on this host."""
        servers = (port for port in network.ports if port.kind is Kind.SERVER and port.addresses)
        used = any(map(self._is_in_ovn, servers))
        for port in network.ports if used else ():
            if port.kind is not Kind.METADATA or not any("." in each for each in port.addresses):
                continue
            if port.namespace not in self.found.namespaces or not port.plug:
                yield self.undone(f"servers of {network.name} get no metadata", OVN_AGENT)

    def router(self, router: Router) -> Iterator[Finding]:
        legs = (*router.gateways, *router.interfaces)
        if not self.setting.ovn:
            if router.enabled and legs and router.place not in self.found.namespaces:
                what = f"the namespace {router.place} of the router {router.name} is missing"
                yield self.undone(what, L3_AGENT)
            return
        ovn = self.found.ovn
        if ovn is None:
            return
        if router.place not in ovn.routers:
            yield self.undone(f"OVN has no logical router of {router.name}", WORKERS)
            return
        for leg in router.gateways if router.enabled else ():
            if leg.host or not leg.there:
                continue
            what = f"no chassis has the gateway {leg.logical} of the router {router.name}"
            if not ovn.hosts:
                yield self.undone(what, CONTROLLER, "no chassis is known to OVN at all")
            elif not ovn.scheduled.get(leg.logical):
                yield self.undone(what, WORKERS, "neutron has chosen none for it")
            else:
                yield self.undone(what, CONTROLLER, "the one that neutron has chosen does not act")

    def legs(self, router: Router) -> Iterator[Wrong]:
        """Those that OVN lacks while it has the router."""
        ovn = self.found.ovn
        if ovn is None or router.place not in ovn.routers:
            return
        for leg in (*router.gateways, *router.interfaces):
            network = self.picture.network(leg.network)
            if not leg.there and network:
                what = f"OVN has no {leg.logical} of {_called(leg, network)}"
                why = "neutron makes it with the port, and does not look again"
                yield Wrong(leg.id, refuse(what, why, _later(*_made_anew(router, leg, network))))

    # -- ports -----------------------------------------------------------------

    def _is_here(self, port: Port) -> bool:
        return port.host == self.setting.host

    def port(self, port: Port, network: Network) -> Finding | None:
        """At most one thing: the first that explains the others."""
        what = _called(port, network)
        if port.binding == FAILED:
            return self._unbound(what, port)
        if not self._is_to_work(port, network):
            return None
        here = self.found.switch and self._is_here(port)
        if here and (found := self._unplugged(what, port)):
            return found
        if port.status == "DOWN":
            return self.undone(f"neutron says that {what} is DOWN", self._teller(port))
        return None

    def _unbound(self, what: str, port: Port) -> Finding:
        """Neutron tries anew only for another host than before, so for none in between."""
        host = shlex.quote(port.host)
        words = [f"port unset --host {port.id}", f"port set --host {host} {port.id}"]
        # What a port says of whose it is, is its owner's text.
        server = port.kind is Kind.SERVER and port.of in (self.found.servers or {})
        words += [f"server reboot --hard {shlex.quote(port.of)}"] if server else []
        said = self.unready.get(self._wirer)
        why = f"{self._wirer}: {said}" if said else "onestack logs neutron-api says why"
        return refuse(
            f"neutron could not bind {what} to {port.host} (binding_failed)",
            f"nothing on that host takes such a port, or did not when it was made; {why}",
            f"once that is mended: {'; '.join(f'openstack {each}' for each in words)}",
        )

    def _unplugged(self, what: str, port: Port) -> Finding | None:
        plug, maker = port.plug, OF_AGENTS.get(port.kind, "")
        if port.kind is Kind.HOST:
            maker = _keeper(port)
        if plug is None:
            device = f"{port.device} is missing" if port.device else "no device is"
            return self._absent(f"{device} in the switch for {what}", port, maker)
        if plug.problem:
            return self._absent(
                f"{plug.device} of {what} does not work: {plug.problem}", port, maker
            )
        if plug.tag == DEAD:
            return self.undone(
                f"{plug.device} of {what} is in VLAN {DEAD}, which leads nowhere", SWITCH_AGENT
            )
        return None

    def _absent(self, what: str, port: Port, maker: str) -> Finding:
        if port.kind is Kind.SERVER:
            return refuse(
                what,
                "the server runs without it, or has just been started or ended",
                _later(f"openstack server reboot --hard {shlex.quote(port.of)}"),
            )
        return self.undone(what, maker)

    def _is_to_work(self, port: Port, network: Network) -> bool:
        if not (port.enabled and port.host):
            return False
        match port.kind:
            case Kind.SERVER:
                return port.binding == "ovs" and port.of in self.found.active
            case Kind.HOST:
                return _keeper(port) in self.setting.keepers
            case Kind.GATEWAY | Kind.INTERFACE if not self.setting.ovn:
                return port.of in self._on
            case Kind.DHCP:
                return self._is_served(network) and port.of != RESERVED
        return False

    @cached_property
    def _on(self) -> frozenset[str]:
        """Routers that are not switched off: of one that is, the agent leaves nothing."""
        return frozenset(router.id for router in self.picture.routers if router.enabled)

    def _teller(self, port: Port) -> str:
        """Who tells neutron that it works: of a leg beside `br-int` he who has plugged it."""
        beside = port.plug and port.plug.bridge != self.setting.integration
        return L3_AGENT if beside and port.kind is Kind.GATEWAY else self._wirer

    @property
    def _wirer(self) -> str:
        return CONTROLLER if self.setting.ovn else SWITCH_AGENT

    def floating(self) -> Iterator[Wrong]:
        """OVN's have no status that tells anything."""
        for each in () if self.setting.ovn else self.found.floating:
            led = each["port_id"] and each["router_id"] in self._on
            if led and each["status"] in ("DOWN", "ERROR"):
                what = f"the floating address {each['floating_ip_address']} is {each['status']}"
                yield Wrong(each["port_id"], self.undone(what, L3_AGENT))


def _keeper(port: Port) -> str:
    """Of this machine's port: as `onestack.network.management` calls a network, and it.

    There is none for a service that is switched off; its network stays until it is purged.
    """
    return f"{port.name.removesuffix('-mgmt')}-management"


def _restart(process: str) -> str:
    return f"onestack logs {process} tells why; then onestack restart {process}"


def _later(*commands: str) -> str:
    return f"look again in a moment; if it stays so: {'; '.join(commands)}"


def _made_anew(router: Router, leg: Port, network: Network) -> Iterator[str]:
    """What makes a router's leg once more, with OVN's part of it."""
    if leg.kind is Kind.GATEWAY:
        yield f"openstack router unset --external-gateway {router.id}"
        yield f"openstack router set --external-gateway {network.id} {router.id}"
        return
    yield f"openstack router remove port {router.id} {leg.id}"
    addresses = [ipaddress.ip_address(each) for each in leg.addresses]
    for subnet in network.subnets:
        inside = ipaddress.ip_network(subnet.cidr)
        if any(address in inside for address in addresses):
            yield f"openstack router add subnet {router.id} {subnet.id}"


def _called(port: Port, network: Network) -> str:
    """For people."""
    match port.kind:
        case Kind.SERVER:
            return f"the port of the server {port.name} in {network.name}"
        case Kind.GATEWAY | Kind.INTERFACE:
            return f"the port of the router {port.name} in {network.name}"
        case Kind.DHCP:
            return f"the DHCP server of {network.name}"
    return f"the port {port.name} in {network.name}"
