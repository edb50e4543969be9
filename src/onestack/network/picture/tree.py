"""A picture as lines: a tree from the outside in, then what is wrong."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from onestack.network.picture.drawing import INTEGRATION, OUTSIDE, TUNNELS
from onestack.network.picture.model import (
    Bridge,
    Kind,
    Network,
    Nic,
    Picture,
    Port,
    Router,
    Subnet,
    Wrong,
)

WIDTH = 100
LONGEST = 40
"""Of a name that somebody gave; what is longer is cut."""
SHOWN = 8
"""Findings of one cause that are shown; --json has them all."""
LAYOUTS = {"openvswitch": "Open vSwitch and neutron's agents", "ovn": "OVN"}
DATAPATHS = {"system": "in the kernel", "netdev": "in userspace (netdev)"}
ROLES = {
    OUTSIDE: "bridge to the outside",
    INTEGRATION: "bridge that all is plugged into",
    TUNNELS: "bridge of tunnels",
}
APART = (Kind.GATEWAY, Kind.INTERFACE, Kind.DHCP, Kind.METADATA)
"""Ports that stand among the network's own lines."""
MARK = "  !"
"""After what is told of below."""


Placed = TypeVar("Placed", Network, Router)


@dataclass
class Node:
    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    """What is said of it: a word, and the rest."""
    below: list[Node] = field(default_factory=list)


def lines(picture: Picture) -> Iterator[str]:
    """All of it."""
    place = DATAPATHS.get(picture.datapath, picture.datapath)
    yield f"{picture.cloud}: {LAYOUTS[picture.layout]}, switched {place}"
    writer = _Writer(picture)
    for node in writer.roots():
        yield ""
        yield from _written(node)
    yield from findings(picture.wrong)


def lines_about(
    picture: Picture, chosen: Sequence[Network | Router], wrong: Sequence[Wrong]
) -> Iterator[str]:
    """Some networks and routers of the whole ``picture``, and what is ``wrong`` with these."""
    writer = _Writer(picture)
    for number, each in enumerate(chosen):
        if number:
            yield ""
        yield from _written(writer.alone(each))
    yield from findings(wrong)


def findings(wrong: Sequence[Wrong]) -> Iterator[str]:
    yield ""
    if not wrong:
        yield "All that was looked at is as it should be."
        return
    yield "Not as it should be:"
    causes: dict[tuple[str, str], list[str]] = {}
    for each in wrong:
        causes.setdefault((each.finding.why, each.finding.cure), []).append(each.finding.what)
    for (why, cure), those in causes.items():
        for what in those[:SHOWN]:
            yield f"  - {clean(what)}"
        if len(those) > SHOWN:
            yield f"  - … and {len(those) - SHOWN} more for the same reason: --json has them"
        for line in why.splitlines():
            yield f"      {clean(line)}"
        if cure:
            # A command is copied from here: it stays one line.
            yield f"      cure: {clean(cure)}"


class _Writer:
    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._told = {each.about for each in picture.wrong}
        self._done: set[str] = set()
        """Networks and routers that stand somewhere already."""
        middle = (each.name for each in picture.bridges if each.role == INTEGRATION)
        self._middle = next(middle, "")

    # -- what stands where ---------------------------------------------------

    def roots(self) -> Iterator[Node]:
        """Bridges to the outside with all that is behind them, then what is behind none."""
        picture = self._picture
        for bridge in picture.bridges:
            if bridge.role == OUTSIDE:
                node = self._bridge(bridge)
                node.below += self._networks(n for n in picture.networks if n.bridge == bridge.name)
                yield node
        # An external one whose bridge is not known has its routers behind it all the same.
        yield from self._networks(self._left(n for n in picture.networks if n.external))
        yield from self._routers(self._left(picture.routers))
        yield from self._networks(self._left(picture.networks))
        for bridge in picture.bridges:
            if bridge.role != OUTSIDE:
                yield self._bridge(bridge)

    def _left(self, those: Iterable[Placed]) -> Iterator[Placed]:
        """Those that stand nowhere yet when it is their turn."""
        return (each for each in those if each.id not in self._done)

    def alone(self, what: Network | Router) -> Node:
        if isinstance(what, Router):
            return self._router(what, deep=False)
        return self._network(what, deep=False)

    def _networks(self, those: Iterable[Network], deep: bool = True) -> Iterator[Node]:
        for network in those:
            if network.id in self._done:
                yield Node(f"{_named(network)}  network, shown above")
            else:
                yield self._network(network, deep)

    def _network(self, network: Network, deep: bool = True) -> Node:
        self._done.add(network.id)
        node = Node(self._title(network), list(self._facts(network)))
        node.below += self._ports(network)
        if deep:
            behind = (
                router
                for router in self._picture.routers
                if any(leg.network == network.id for leg in router.gateways)
            )
            node.below += self._routers(behind)
        return node

    def _routers(self, those: Iterable[Router]) -> Iterator[Node]:
        for router in those:
            if router.id in self._done:
                yield Node(f"{_named(router)}  router, shown above")
            else:
                yield self._router(router)

    def _router(self, router: Router, deep: bool = True) -> Node:
        self._done.add(router.id)
        off = "" if router.enabled else ", switched off"
        title = f"{_named(router)}  router, {router.place}{off}{self._mark(router.id)}"
        node = Node(title)
        for leg in router.gateways:
            node.facts.append(("outside", self._leg(leg, self._network_name(leg))))
        for destination, hop in router.routes:
            node.facts.append(("route", f"{destination} by {hop}"))
        for each in router.forwardings:
            node.facts.append(("forward", f"{each.protocol} {each.outside} to {each.inside}"))
        inside = dict.fromkeys(leg.network for leg in router.interfaces)
        known = (self._picture.network(each) for each in inside)
        node.below += self._networks(sorted((n for n in known if n), key=lambda n: n.name), deep)
        return node

    # -- lines of each ---------------------------------------------------------

    def _bridge(self, bridge: Bridge) -> Node:
        what = ROLES.get(bridge.role, "another bridge of the switch")
        physical = f", physical network {comma(bridge.physical)}" if bridge.physical else ""
        there = "" if bridge.there else ", is not there"
        node = Node(f"{bridge.name}  {what}{physical}{there}{self._mark(bridge.name)}")
        if bridge.addresses:
            node.facts.append(("address", f"{comma(bridge.addresses)} of this machine"))
        node.facts += [("NIC", _nic(nic)) for nic in bridge.nics]
        for patch in bridge.patches:
            to = f" in {patch.to}" if patch.to else ", which is not there"
            node.facts.append(("patch", f"{patch.port} to {patch.peer}{to}"))
        for tunnel in bridge.tunnels:
            node.facts.append(("tunnel", f"{tunnel.port} ({tunnel.kind}) to {tunnel.remote}"))
        if bridge.controller:
            state = "is connected" if bridge.connected else "is not connected"
            mode = f", fail mode {bridge.fail_mode}" if bridge.fail_mode else ""
            node.facts.append(("control", f"{bridge.controller} {state}{mode}"))
        if bridge.others:
            node.facts.append(("other", f"{comma(bridge.others)}: no port of neutron's"))
        return node

    def _title(self, network: Network) -> str:
        kind = network.kind + (f" {network.segment}" if network.segment is not None else "")
        words = [
            "external network" if network.external else "network",
            kind,
            f"physical network {network.physical}" if network.physical else "",
            "shared" if network.shared else "",
            f"tag {network.tag} in {self._middle}" if network.tag is not None else "",
            "" if network.enabled else "switched off",
        ]
        return f"{_named(network)}  {comma(filter(None, words))}{self._mark(network.id)}"

    def _facts(self, network: Network) -> Iterator[tuple[str, str]]:
        if network.switch:
            yield "switch", network.switch
        if network.localnet:
            yield "localnet", network.localnet
        for subnet in network.subnets:
            yield "subnet", _subnet(subnet)
        for router in self._picture.routers:
            legs = (leg for leg in router.interfaces if leg.network == network.id)
            yield from (("router", self._leg(leg, _named(router))) for leg in legs)
        yield from self._services(network)

    def _services(self, network: Network) -> Iterator[tuple[str, str]]:
        for subnet in network.subnets:
            if subnet.options is not None:
                yield "DHCP", _options(subnet)
        for port in network.ports:
            if port.kind in (Kind.DHCP, Kind.METADATA):
                word = "DHCP" if port.kind is Kind.DHCP else "metadata"
                # OVN's is made with a network's first server on a host.
                away = port.kind is Kind.METADATA and self._picture.seen and not port.plug
                where = f", {port.namespace}{', which is not here' if away else ''}"
                yield word, self._leg(port, "", where)
        if network.unused:
            yield "floating", f"{comma(network.unused)}: used by nobody"

    def _leg(self, port: Port, of: str, where: str = "") -> str:
        """Where a port of the network's own is."""
        words = [of, comma(port.addresses) or "no address", self._seat(port), _status(port)]
        return " ".join(filter(None, words)) + where + self._mark(port.id)

    def _seat(self, port: Port) -> str:
        if found := self._place(port):
            return f"at {found}"
        if not port.there:
            return f"at {port.logical}, which is missing"
        if port.logical:
            has = f" on {port.host}" if port.host else " on no chassis"
            return f"at {port.logical}{has if port.kind is Kind.GATEWAY else ''}"
        if port.kind is Kind.METADATA:
            return ""
        if port.host and port.host != self._picture.host:
            return f"on {port.host}"
        missing = ", which is missing" if self._picture.seen else ""
        return f"at {port.device}{missing}" if port.device else ""

    def _ports(self, network: Network) -> Iterator[Node]:
        those = [port for port in network.ports if port.kind not in APART]
        cells = [
            (
                name(port.name) + (f" of {name(port.balancer)}" if port.balancer else ""),
                _kind(port),
                comma(port.addresses),
                comma(port.floating),
                self._place(port) or self._elsewhere(port),
            )
            for port in those
        ]
        widths = [max(map(wide, column)) for column in zip(*cells, strict=True)]
        for port, row in zip(those, cells, strict=True):
            padded = (cell + " " * (w - wide(cell)) for cell, w in zip(row, widths, strict=True))
            line = "  ".join(cell for cell, w in zip(padded, widths, strict=True) if w)
            status = _status(port)
            yield Node(f"{line.rstrip()}{f'  {status}' if status else ''}{self._mark(port.id)}")

    def _place(self, port: Port) -> str:
        """Its device, and the bridge that this is in unless it is where all is."""
        if not (plug := port.plug):
            return ""
        return plug.device if plug.bridge == self._middle else f"{plug.device} in {plug.bridge}"

    def _elsewhere(self, port: Port) -> str:
        if port.host and port.host != self._picture.host:
            return f"on {port.host}"
        return ""

    def _network_name(self, port: Port) -> str:
        found = self._picture.network(port.network)
        return _named(found) if found else ""

    def _mark(self, identity: str) -> str:
        return MARK if identity in self._told else ""


def _nic(nic: Nic) -> str:
    by = f" in {nic.by}" if nic.by else ""
    has = [*nic.addresses, *(f"gateway {gateway}" for gateway in nic.gateways)]
    port = f", joined by {nic.port}" if nic.port != nic.name else ""
    return f"{nic.name}{by}{f' ({comma(has)})' if has else ''}{port}"


def _subnet(subnet: Subnet) -> str:
    words = [f"{name(subnet.name)} {subnet.cidr}".strip()]
    words.append(f"gateway {subnet.gateway}" if subnet.gateway else "no gateway")
    words += [f"{start} to {end}" for start, end in subnet.pools]
    words += [] if subnet.dhcp else ["no DHCP"]
    return comma(words)


def _options(subnet: Subnet) -> str:
    """OVN's, those that people ask for."""
    said = subnet.options or {}
    asked = (("router", "router"), ("dns_server", "DNS"), ("dns_servers", "DNS"), ("mtu", "MTU"))
    words = [f"{word} {said[key]}" for key, word in asked if key in said]
    server = said.get("server_id", "")
    by = f"OVN as {server}" if server else "OVN"
    return f"by {by} on {name(subnet.name) or subnet.cidr}" + "".join(f", {word}" for word in words)


def _kind(port: Port) -> str:
    """Of others what neutron calls it, and nothing of one that nobody has."""
    if port.kind is Kind.OTHER:
        return clean(port.owner) or "port"
    return port.kind.value


def _status(port: Port) -> str:
    if not port.enabled:
        return "switched off"
    if port.binding == "binding_failed":
        return "binding_failed"
    return port.status if port.status not in ("", "ACTIVE") else ""


def comma(words: Iterable[str]) -> str:
    return ", ".join(words)


def _named(each: Network | Router) -> str:
    return name(each.name or each.id)


def name(text: str) -> str:
    """As somebody gave it, fit for a line."""
    text = clean(text)
    if wide(text) <= LONGEST:
        return text
    while wide(text) >= LONGEST:
        text = text[:-1]
    return f"{text}…"


def clean(text: str) -> str:
    """Nothing that moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def wide(text: str) -> int:
    """Columns that it takes on a terminal."""
    marks = sum(bool(unicodedata.combining(letter)) for letter in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(each) in "WF" for each in text)


def _written(node: Node, first: str = "", rest: str = "") -> Iterator[str]:
    stem = f"{rest}│  " if node.below else f"{rest}   "
    yield from _wrapped(first, node.title, f"{stem}  ")
    for word, text in node.facts:
        yield from _wrapped(f"{stem}{word:<9} ", text, f"{stem}{'':<10}")
    for number, each in enumerate(node.below):
        last = number == len(node.below) - 1
        first, after = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _written(each, rest + first, rest + after)


def _wrapped(first: str, text: str, rest: str) -> Iterator[str]:
    """Within `WIDTH` columns, as far as words allow."""
    if wide(first) + wide(text) <= WIDTH:
        yield (first + text).rstrip()
        return
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
