"""From what is there to the commands that move it: no command is started here.

Lines are those of ``ip -batch``. A move never takes an address away before it is there on the
other device, so that no connection of the machine's notices.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onestack.network.nic import words
from onestack.network.nic.facts import Device, Entry, Facts

LENGTH = 15
"""Bytes of a device's name, at most."""
QUIET = "1"
"""``addr_gen_mode``: the kernel makes no address of the link by itself."""


def bridge_name(nic: str) -> str:
    """The machine's own bridge for ``nic``. (A dot would make a VLAN of it for ifupdown.)"""
    return fitting(f"br-{nic.replace('.', '-')}")


def fitting(name: str) -> str:
    """``name`` as far as the kernel takes it; cut, it still is nobody else's."""
    if len(name) <= LENGTH:
        return name
    return f"{name[: LENGTH - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Pair:
    """Two devices that are one wire, between the machine's own bridge and the switch's."""

    inner: str
    """The switch's port. (What configures NICs by a pattern of names is not to take it for one.)"""
    outer: str
    """The port of the machine's own bridge."""

    @classmethod
    def of(cls, nic: str, provider: str) -> Pair:
        return cls(fitting(f"to-{provider}-{nic}"), fitting(f"{provider}-{nic}"))


def make_bridge(device: Device, bridge: str) -> list[str]:
    """The bridge passes on what comes, at once, and decides nothing."""
    mac = f" address {device.mac}" if device.mac else ""
    wire = "stp_state 0 forward_delay 0 mcast_snooping 0"
    return [f"link add name {bridge}{mac} mtu {device.mtu} type bridge {wire}"]


def over(device: Device, bridge: str) -> list[str]:
    """``device`` becomes a port of ``bridge``, which gets what it has. Raises `NotKnown`."""
    return [
        f"link set dev {bridge} up",
        f"link set dev {device.name} up master {bridge}",
        *transfer(device, bridge),
        f"address flush dev {device.name}",
        *neighbours(device, bridge),
    ]


def back(device: Device, nic: str, bridge: str, has: Device | None = None) -> list[str]:
    """``nic`` leaves ``bridge``, which goes, and has what ``device`` had: itself, or the bridge.

    What ``has``, the NIC as it is, has by somebody else already stays as that made it.
    Raises `NotKnown`.
    """
    moved = missing(device, has) if has else device
    rules = {_selection(rule, device.name) for rule in moved.rules}
    done = [rule for rule in device.rules if _selection(rule, device.name) not in rules]
    return [
        f"link set dev {nic} nomaster",
        f"link set dev {nic} up",
        *transfer(moved, nic, other=bridge if device.name == nic else device.name),
        *(words.rule(rule, "delete", device.name, device.name) for rule in done),
        f"link delete dev {bridge}",
        *neighbours(device, nic),
    ]


def transfer(device: Device, target: str, other: str = "") -> list[str]:
    """What hangs on ``device``, for ``target``; its rules go from ``other`` (or itself)."""
    source, gone = device.name, other or device.name
    lines = [words.address(entry, target, "replace") for entry in device.addresses]
    # A route's gateway is reached by another route, which must be there first.
    lines += [words.route(r, source, target) for r in sorted(device.routes, key=_order)]
    for rule in device.rules:
        lines.append(words.rule(rule, "add", source, target))
        lines.append(words.rule(rule, "delete", source, gone))
    return sorted(lines, key=lambda line: line[:3] if line.startswith("-") else "")


def runs(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Option and lines for one ``ip -batch`` each, in order: no line of one has options."""
    for family, some in itertools.groupby(lines, lambda line: line[:2] if line[0] == "-" else ""):
        yield family, [line.removeprefix(f"{family} ") if family else line for line in some]


def neighbours(device: Device, target: str) -> list[str]:
    return [line for n in device.neighbours if (line := words.neighbour(n, target))]


def leftovers(now: Device) -> list[str]:
    """Routes that replacing has left: the kernel does not take its own for those of others."""
    lines = [words.route(route, now.name, now.name) for route in now.routes]
    return [line.replace(" route replace ", " route delete ", 1) for line in lines]


def _order(route: Entry) -> tuple[int, int]:
    far = any("gateway" in hop or "via" in hop for hop in route.get("nexthops", [route]))
    return int(far), int(route["dst"] == "default")


def difference(before: Device, now: Device) -> list[str]:
    """What ``before`` had and ``now`` has not, or has in addition, each as a sentence."""
    was, is_now = set(_essence(before)), set(_essence(now))
    found = [f"{text} is missing on {now.name}" for text in sorted(was - is_now)]
    return found + [f"{text} is new on {now.name}" for text in sorted(is_now - was)]


def lost(before: Device, now: Device) -> list[str]:
    """What ``before`` had, and ``now``, the same device, has not; not what `Device.missing` has."""
    known = {f"the address {text}" for text in before.missing(now)}
    return sorted(set(_essence(before)) - set(_essence(now)) - known)


def _essence(device: Device) -> Iterator[str]:
    """Without what passes: lifetimes, flags of the kernel's, found out neighbours."""
    yield f"MTU {device.mtu}"
    for entry in device.addresses:
        yield f"the address {entry['local']}/{entry['prefixlen']}"
    for route in device.routes:
        lasting = {k: v for k, v in route.items() if k not in ("expires", "metrics")}
        line = words.route(lasting, device.name, "NIC")
        yield f"the route {line.partition(' replace ')[2]}"
    for rule in device.rules:
        line = words.rule(rule, "add", device.name, "NIC")
        yield f"the rule {line.partition(' add ')[2]}"
    for neighbour in device.neighbours:
        if "PERMANENT" in neighbour.get("state", ()):
            yield f"the neighbour {neighbour['dst']}"


def missing(device: Device, now: Device) -> Device:
    """As much of ``device`` as ``now``, another one, has not.

    Whoever has given it routes may have done so with other metrics, and as another protocol.
    """
    addresses = {(each["local"], each["prefixlen"]) for each in now.addresses}
    routes = {_way(route, now.name) for route in now.routes}
    rules = {_selection(rule, now.name) for rule in now.rules}
    return replace(
        device,
        addresses=tuple(
            each for each in device.addresses if (each["local"], each["prefixlen"]) not in addresses
        ),
        routes=tuple(r for r in device.routes if _way(r, device.name) not in routes),
        rules=tuple(r for r in device.rules if _selection(r, device.name) not in rules),
    )


def told(device: Device) -> list[str]:
    """Its addresses, routes and rules, for people."""
    return [
        *(f"the address {text}" for text in device.texts),
        *(f"the route {_way(route, device.name, device.name)}" for route in device.routes),
        *(f"the rule {_selection(rule, device.name, device.name)}" for rule in device.rules),
    ]


_OF_ITS_GIVER = ("metric", "protocol", "scope", "pref", "expires")


def _way(route: Entry, name: str, shown: str = "NIC") -> str:
    lasting = {k: v for k, v in route.items() if k not in _OF_ITS_GIVER}
    return words.route(lasting, name, shown).partition(" replace ")[2]


def _selection(rule: Entry, name: str, shown: str = "NIC") -> str:
    return words.rule(rule, "add", name, shown).partition(" add ")[2]


def mtu_of(facts: Facts, name: str) -> int:
    link = facts.link(name)
    return int(link["mtu"]) if link else 0
