"""A network on which a service and the guests that it starts for itself reach each other.

It is of neutron's, without a way out, and this host has one port in it: a device of the
integration bridge with an address, kept by a process and guarded by nftables. A service asks
`Management` for all of it, and works alike with either layout.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.host import filters, nftables
from onestack.host.files import ensure_file, ensure_no_file
from onestack.host.filters import FIREWALLD, ClosedChain
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Opened, Port, Scope, Task
from onestack.model.findings import Finding, refuse
from onestack.model.ini import Ini, ini_text
from onestack.model.process import FileProbe, Process
from onestack.network.bridges import Bridges
from onestack.network.distribution import distribution, environment
from onestack.network.keeper import KEEPER, guard, guarded
from onestack.network.ovsdb import as_user

if TYPE_CHECKING:
    from onestack.cloudapi.guest_network import GuestNetwork, Known

SMALLEST = 28
"""The longest prefix: this host, both of neutron's own ports, and some guests."""


@dataclass(frozen=True)
class Management:
    """Of the component ``service``; ``subnet`` is the answer of a key of the component's.

    Guests reach the ports ``reached`` of this host's end, and this host the ports ``answered``
    of each guest. Nothing else passes, also between two guests.
    """

    ctx: Context
    service: str
    subnet: str
    reached: tuple[Port, ...] = ()
    answered: tuple[Port, ...] = ()

    # -- what it is called -------------------------------------------------

    @property
    def address(self) -> str:
        """This host's end, known before anything is made."""
        return str(self._address.ip)

    @property
    def _address(self) -> IPv4Interface:
        network = IPv4Network(self.subnet)
        return IPv4Interface(f"{network.network_address + 1}/{network.prefixlen}")

    @property
    def device(self) -> str:
        return self.ctx.cloud.device(f"mg-{self.service[:3]}")

    @property
    def network_name(self) -> str:
        """Of the network, its subnet, this host's port and the guests' security group."""
        return f"{self.service}-mgmt"

    @property
    def process_name(self) -> str:
        return f"{self.service}-management"

    @property
    def ids_file(self) -> Path:
        """For the service: options with ids that are known only once neutron has answered."""
        return self._etc / "management.conf"

    @property
    def port_file(self) -> Path:
        """For the keeper. There, it tells that there is (or was) a network in neutron."""
        return self._etc / "management-port"

    @property
    def _etc(self) -> Path:
        return self.ctx.cloud.etc / self.service

    @property
    def _table(self) -> str:
        return f"{self.ctx.cloud.prefix}_{self.service}".replace("-", "_")

    @property
    def _mac(self) -> str:
        """The same for ever: a change of it would be another machine to guests."""
        name = f"{self.ctx.cloud.name} {self.service}".encode()
        return "fa:16:3e:" + hashlib.sha256(name).digest()[:3].hex(":")

    def _wanted(self) -> GuestNetwork:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.guest_network import GuestNetwork

        return GuestNetwork(
            name=self.network_name,
            subnet=self._address.network,
            address=self._address.ip,
            mac=self._mac,
            host=self.ctx.host.name,
            reached=self.reached,
            answered=self.answered,
        )

    # -- what the component declares ---------------------------------------

    def files(self) -> Iterable[ConfigFile]:
        group = self.ctx.at("switch").group
        rules = guard(self._table, self.device, self._address, self.reached)
        yield ConfigFile(self._keeper, KEEPER, group)
        yield ConfigFile(self._rules, rules, group)

    @property
    def _keeper(self) -> Path:
        return self._etc / "management.sh"

    @property
    def _rules(self) -> Path:
        return self._etc / "management.nft"

    def process(self) -> Process:
        """The keeper. Stopped, it leaves neither device nor rules."""
        ctx = self.ctx
        switch, bridge = ctx.at("switch"), ctx.once(Bridges).integration
        ready = ctx.cloud.run / "openvswitch" / self.process_name
        vsctl = (distribution(ctx).program("ovs-vsctl"), f"--db={switch.target}", "--timeout=20")
        away = as_user(switch.group, *vsctl, "--if-exists", "del-port", bridge, self.device)
        return Process(
            name=self.process_name,
            component=self.service,
            user=switch.group,
            argv=(
                *("/bin/sh", str(self._keeper), bridge, self.device, str(self._address)),
                *(str(self.port_file), str(self._rules), str(ready), *vsctl),
            ),
            env=environment(ctx),
            files=(str(self._keeper), str(self._rules), str(self.port_file)),
            capabilities=("net_admin",),
            needs=("integration",),
            prepare=(("rm", "-f", str(ready)),),
            cleanup=(away, nftables.unload(self._table)),
            probe=FileProbe(str(ready), seconds=40),
        )

    def opened(self, *ports: Port) -> Iterator[Opened]:
        """For `Component.opened`: those of ``reached`` that processes of the service open."""
        for port in ports:
            yield Opened(self.address, port)

    def task(self) -> Task:
        """``SERVICE:management``: the service's processes wait for it."""
        needs = ("capability:network", "capability:integration")
        return Task("management", self._ensure, needs, before_start=True, scope=Scope.CLOUD)

    def _ensure(self) -> Iterator[Change]:
        from onestack.cloudapi import guest_network
        from onestack.model.errors import NotYet

        yield from nftables.ensure_noted(self.ctx.cloud, self._table)
        yield from guest_network.ensure(self.ctx, self._wanted())
        try:
            found = self.known()
        except NotYet:
            # a dry run, which has made nothing
            return
        line = f"{found.port} {self._mac} {found.mtu}\n"
        yield from ensure_file(self.port_file, line, mode=0o640, group=self.ctx.at("switch").group)

    def known(self) -> Known:
        """Neutron's ids of it. Raises `NotYet` before ``SERVICE:management`` is done."""
        from onestack.cloudapi import guest_network

        return guest_network.known(self.ctx, self._wanted())

    def ensure_ids(self, sections: Ini) -> Iterator[Change]:
        """The service's `ids_file`, with these options."""
        group = self.ctx.cloud.user(self.service)
        yield from ensure_file(self.ids_file, ini_text(sections), mode=0o640, group=group)

    def purge(self) -> Iterator[Change]:
        """Nothing of it, nor of what is in it: servers too, in the end."""
        from onestack.cloudapi import guest_network

        if self.ctx.offers("network"):
            yield from guest_network.remove(self.ctx, self.network_name)
        yield from nftables.forget(self.ctx.cloud, self._table)
        yield from ensure_no_file(self.port_file)
        yield from ensure_no_file(self.ids_file)

    def health_checks(self) -> Iterator[Finding]:
        """What of the machine's packet filter is not as guests and their guard want it."""
        rules = nftables.ruleset(self.ctx.cloud.netns)
        if gone := nftables.gone(rules, self._table, self.ctx.cloud.netns):
            yield refuse(
                f"nothing but neutron keeps the guests of {self.service} from this machine",
                gone,
                f"onestack restart {self.process_name}",
            )
        shut: dict[str, tuple[ClosedChain, list[str]]] = {}
        for protocol in dict.fromkeys(port.protocol for port in self.reached):
            numbers = [port.number for port in self.reached if port.protocol == protocol]
            for chain, those in filters.shut_ports(rules, self.device, numbers, protocol):
                own = shut.setdefault(chain.name, (chain, []))[1]
                own += [f"{protocol}/{number}" for number in those]
        for chain, ports in shut.values():
            yield refuse(
                f"what the guests of {self.service} send to this machine is dropped",
                f"so says the packet filter's chain {chain.name}, of {', '.join(ports)}",
                f"{self._opening(chain)} (this cloud's own rules let in only what they must)",
            )

    def _opening(self, chain: ClosedChain) -> str:
        if chain.setter == FIREWALLD:
            trusted = f"firewall-cmd --permanent --zone=trusted --add-interface={self.device}"
            return f"{trusted}; firewall-cmd --reload"
        return chain.opening({"in": self.device})

    def preflight_checks(self, key: str) -> Iterator[Finding]:
        """Whether the subnet that ``key`` answers is another one than before, or not free."""
        wanted = IPv4Network(self.subnet)
        before = self._before()
        if before and before != wanted:
            switch = self.ctx.answers.key(key).network_of
            yield refuse(
                f"{key}={wanted} would change the network of {self.service}'s guests",
                f"it is {before}, and guests were told this machine's address there",
                f"put it back: --set {key}={before}; or delete the guests, switch the service off "
                f"for good (onestack up --purge --set {switch}=n), then on with the new network",
            )
        for device, addresses in self.ctx.facts.cloud_devices.items():
            for address in map(ipaddress.ip_interface, addresses):
                clash = address.version == 4 and address.network.overlaps(wanted)
                if clash and device != self.device:
                    yield refuse(
                        f"the device {device} has {address}, which is in {key}={self.subnet}",
                        f"that network is to be one of {self.service}'s guests alone",
                        f"choose another that nothing uses: --set {key}=…",
                    )

    def _before(self) -> IPv4Network | None:
        """What the network is that a run before this one has made in neutron."""
        if not (self.port_file.exists() and self._rules.exists()):
            return None
        return guarded(self._rules.read_text())


def wrong_subnet(text: str) -> str | None:
    """For a key's ``check``: what is wrong with the answer."""
    try:
        network = IPv4Network(text)
    except ValueError:
        return "write an IPv4 network, such as 198.18.8.0/22"
    if network.prefixlen > SMALLEST:
        return f"it must have room for some guests: at least a /{SMALLEST}"
    if not _for_hosts(network.network_address):
        return "that is no network for machines"
    return None


def _for_hosts(address: IPv4Address) -> bool:
    return not (
        address.is_loopback or address.is_multicast or address.is_link_local or address.is_reserved
    )
