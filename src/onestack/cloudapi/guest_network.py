"""The network of a service's own guests, in neutron: guests see this host's end, and no other.

All of it belongs to the project ``service``. No router leads out of it, and two groups of
rules hold in it: what guests may do, and what this host's end may.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from onestack.cloudapi.compute import compute_of, remove_servers
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.neutron import Item, NeutronApi, neutron_of
from onestack.model.change import Change
from onestack.model.declarations import Port
from onestack.model.errors import NotYet, OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

NO_DNS = "0.0.0.0"
"""As both of neutron's DHCP servers read it: guests are told of no resolver."""
DHCP = Port("udp", 67)
_RULE = (
    *("direction", "ethertype", "protocol", "port_range_min", "port_range_max"),
    "remote_ip_prefix",
)
"""What makes a rule: neutron refuses two that are alike in these."""
_FAILED = ("unbound", "binding_failed")


@dataclass(frozen=True)
class Known:
    """What neutron calls it."""

    network: str
    subnet: str
    group: str
    """The security group of guests' ports."""
    port: str
    """This host's end."""
    mtu: int


@dataclass(frozen=True)
class GuestNetwork:
    """``address`` and ``mac`` are of this host's end, ``host`` its name among neutron's agents."""

    name: str
    subnet: IPv4Network
    address: IPv4Address
    mac: str
    host: str
    reached: tuple[Port, ...]
    """Of this host's end, by guests."""
    answered: tuple[Port, ...]
    """Of guests, by this host."""

    @property
    def own_group(self) -> str:
        """The name of the security group of this host's end; the guests' is ``name``."""
        return f"{self.name}-host"

    def rules(self) -> dict[str, set[tuple[object, ...]]]:
        """By group, each rule as the values of ``_RULE``."""
        address, subnet = f"{self.address}/32", str(self.subnet)
        return {
            self.name: {
                *_rules("egress", self.reached, address),
                *_rules("ingress", self.answered, address),
                # OVN, other than the agents, takes a question to its DHCP for any other.
                *_rules("egress", (DHCP,), "255.255.255.255/32"),
                *_rules("egress", (DHCP,), subnet),
            },
            self.own_group: {
                *_rules("ingress", self.reached, subnet),
                *_rules("egress", self.answered, subnet),
            },
        }


def _rules(direction: str, ports: Iterable[Port], far: str) -> Iterator[tuple[object, ...]]:
    for port in ports:
        yield direction, "IPv4", port.protocol, port.number, port.number, far


def known(ctx: Context, wanted: GuestNetwork) -> Known:
    """Raises `NotYet`."""
    found = _Made(neutron_of(ctx), service_project(ctx), wanted)
    network, subnet, port = found.network(), found.subnet(), found.port()
    group = found.group(wanted.name)
    if not (network and subnet and port and group):
        raise NotYet(f"the network {wanted.name} is not there", cure="run up again")
    return Known(network["id"], subnet["id"], group["id"], port["id"], int(network["mtu"]))


def ensure(ctx: Context, wanted: GuestNetwork) -> Iterator[Change]:
    """Network, subnet, both groups with just their rules, and this host's port, bound to it."""
    made = _Made(neutron_of(ctx), service_project(ctx), wanted)
    network = made.network()
    if not network:
        yield Change(f"make the network {wanted.name}", made.make_network)
    subnet = made.subnet() if network else None
    if subnet and subnet["cidr"] != str(wanted.subnet):
        made.refuse_if_used(subnet["cidr"])
        yield Change(
            f"remove the subnet {subnet['cidr']} of {wanted.name}",
            functools.partial(made.remove_subnet, subnet),
        )
        subnet = None
    if not subnet:
        yield Change(f"make the subnet {wanted.subnet} of {wanted.name}", made.make_subnet)
    for name, rules in wanted.rules().items():
        group = made.group(name)
        if not group or _present(group) != rules:
            yield Change(
                f"{'set' if group else 'make'} the security group {name}",
                functools.partial(made.settle_group, name, rules),
            )
    port = made.port() if network else None
    if not port:
        yield Change(f"make this host's port in {wanted.name}", made.make_port)
    elif port["binding:vif_type"] in _FAILED or port["binding:host_id"] != wanted.host:
        yield Change(f"bind the port of {wanted.name} to {wanted.host}", made.bind_port)


def remove(ctx: Context, name: str) -> Iterator[Change]:
    """No network of that name in the project ``service``, and no server that is in it."""
    api = neutron_of(ctx)
    own = {"project_id": service_project(ctx)}
    network = api.find("network", name=name, **own)
    if network:
        ports = api.all("port", network_id=network["id"])
        guests = sorted({p["device_id"] for p in ports if p["device_owner"].startswith("compute:")})
        if guests and ctx.offers("compute"):
            yield Change(
                f"remove all servers in the network {name} ({len(guests)})",
                functools.partial(remove_servers, compute_of(ctx), guests),
            )

        def remove_network() -> None:
            for port in api.all("port", network_id=network["id"]):
                # What neutron made for itself goes with the network.
                if not port["device_owner"].startswith("network:"):
                    api.delete("port", port["id"])
            api.delete("network", network["id"])

        yield Change(f"remove the network {name}", remove_network)
    for group in (name, f"{name}-host"):
        if found := api.find("security-group", name=group, **own):
            yield Change(
                f"remove the security group {group}",
                functools.partial(api.delete, "security-group", str(found["id"])),
            )


def _present(group: Item) -> set[tuple[object, ...]]:
    return {tuple(rule[name] for name in _RULE) for rule in group["security_group_rules"]}


@dataclass(frozen=True)
class _Made:
    """What is there of a wanted one; each is looked at when it is asked for."""

    api: NeutronApi
    owner: str
    wanted: GuestNetwork

    def network(self) -> Item | None:
        return self.api.find("network", name=self.wanted.name, project_id=self.owner)

    def subnet(self) -> Item | None:
        return self.api.find("subnet", name=self.wanted.name, project_id=self.owner)

    def group(self, name: str) -> Item | None:
        return self.api.find("security-group", name=name, project_id=self.owner)

    def port(self) -> Item | None:
        return self.api.find("port", name=self.wanted.name, project_id=self.owner)

    def _needed(self, kind: str, name: str) -> str:
        return str(self.api.needed(kind, name, project_id=self.owner)["id"])

    def make_network(self) -> None:
        self.api.make("network", name=self.wanted.name, project_id=self.owner)

    def make_subnet(self) -> None:
        wanted = self.wanted
        pool = {"start": str(wanted.address + 1), "end": str(wanted.subnet.broadcast_address - 1)}
        self.api.make(
            "subnet",
            name=wanted.name,
            project_id=self.owner,
            network_id=self._needed("network", wanted.name),
            cidr=str(wanted.subnet),
            ip_version=4,
            gateway_ip=None,
            enable_dhcp=True,
            dns_nameservers=[NO_DNS],
            allocation_pools=[pool],
        )

    def refuse_if_used(self, cidr: str) -> None:
        """Raises `OnestackError` while guests have addresses in it."""
        network = self._needed("network", self.wanted.name)
        ports = self.api.all("port", network_id=network)
        guests = [p for p in ports if p["device_owner"].startswith("compute:")]
        if guests:
            raise OnestackError(
                f"the network {self.wanted.name} cannot become {self.wanted.subnet}",
                f"guests have addresses in {cidr} ({len(guests)}), and were told this host's there",
                f"go back to {cidr}, or delete them first, then run up again",
            )

    def remove_subnet(self, subnet: Item) -> None:
        if port := self.port():
            self.api.delete("port", port["id"])
        self.api.delete("subnet", subnet["id"])

    def settle_group(self, name: str, rules: set[tuple[object, ...]]) -> None:
        """A new group lets guests go anywhere."""
        group = self.group(name)
        if not group:
            self.api.make("security-group", name=name, project_id=self.owner)
            group = self.api.needed("security-group", name, project_id=self.owner)
        for rule in group["security_group_rules"]:
            if tuple(rule[key] for key in _RULE) not in rules:
                self.api.delete("security-group-rule", rule["id"])
        for values in rules - _present(group):
            self.api.make(
                "security-group-rule",
                project_id=self.owner,
                security_group_id=group["id"],
                **dict(zip(_RULE, values, strict=True)),
            )

    def make_port(self) -> None:
        wanted = self.wanted
        where = {
            "subnet_id": self._needed("subnet", wanted.name),
            "ip_address": str(wanted.address),
        }
        body = {
            "name": wanted.name,
            "project_id": self.owner,
            "network_id": self._needed("network", wanted.name),
            "mac_address": wanted.mac,
            "fixed_ips": [where],
            "security_groups": [self._needed("security-group", wanted.own_group)],
            "device_owner": "onestack:management",
            "device_id": wanted.host,
            "binding:host_id": wanted.host,
        }
        self.api.make("port", **body)

    def bind_port(self) -> None:
        """Neutron tries anew only for another host, so for none in between."""
        port = self._needed("port", self.wanted.name)
        for host in ("", self.wanted.host):
            self.api.put(f"ports/{port}", {"port": {"binding:host_id": host}})
