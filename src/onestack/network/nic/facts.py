"""What the kernel has of network devices, as ``ip -json`` tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onestack.host.command import run

Entry = Mapping[str, Any]
"""One object of ip(8)'s JSON."""
SETTINGS = Path("/proc/sys/net")
LEFT = ("stable_secret", "mtu", "mc_forwarding", "addr_gen_mode")
"""Settings of a device that are not copied: secret, the link's, the kernel's own, ours to set."""
OWN_TABLE = "local"
"""The kernel's own table: it follows the addresses."""


@dataclass(frozen=True)
class Device:
    """A device with all that hangs on its name; plain data, so that it can be written down."""

    name: str
    mac: str
    mtu: int
    up: bool
    addresses: tuple[Entry, ...] = ()
    routes: tuple[Entry, ...] = ()
    """Each with its ``family``, 4 or 6; none that the kernel makes of an address by itself."""
    rules: tuple[Entry, ...] = ()
    neighbours: tuple[Entry, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """``ipv6/conf/accept_ra`` to its value."""

    @property
    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Device:
        lists = ("addresses", "routes", "rules", "neighbours")
        return cls(**{**plain, **{name: tuple(plain[name]) for name in lists}})

    @property
    def texts(self) -> tuple[str, ...]:
        """Its addresses with prefix length, for people: those of the link left out."""
        return tuple(
            f"{a['local']}/{a['prefixlen']}" for a in self.addresses if a.get("scope") != "link"
        )

    def missing(self, now: Device) -> list[str]:
        """Addresses that ``now`` lacks. Of those that a router's advertisement has made, one of
        the same network counts: what makes them may take the device's name for it."""
        there = {(a["local"], a["prefixlen"]) for a in now.addresses}
        networks = {network(a) for a in now.addresses}
        return [
            f"{a['local']}/{a['prefixlen']}"
            for a in self.addresses
            if a.get("scope") != "link" and (a["local"], a["prefixlen"]) not in there
            if not (_advertised(a) and network(a) in networks)
        ]

    @property
    def gateways(self) -> tuple[str, ...]:
        """Where its default routes lead, by the least metric first."""
        found = [r for r in self.routes if r["dst"] == "default" and r.get("type") == "unicast"]
        found.sort(key=lambda route: int(route.get("metric", 0)))
        ways = [
            hop.get("gateway", "")
            for route in found
            for hop in route.get("nexthops", [route])
            if hop.get("dev", self.name) == self.name
        ]
        return tuple(dict.fromkeys(filter(None, ways)))

    @property
    def needed(self) -> bool:
        """Whether the machine itself is reached by it."""
        return bool(self.texts or self.routes or self.rules)


@dataclass(frozen=True)
class Facts:
    """All devices of one network namespace, routes of all tables, rules and neighbours."""

    links: tuple[Entry, ...]
    addresses: Mapping[str, tuple[Entry, ...]]
    routes: tuple[Entry, ...]
    rules: tuple[Entry, ...]
    neighbours: tuple[Entry, ...]

    @classmethod
    def of(cls, said: Mapping[str, list[dict[str, Any]]]) -> Facts:
        """From the answers to `QUESTIONS`."""
        routes = [{**r, "family": n} for n in (4, 6) for r in said[f"routes{n}"]]
        rules = [{**r, "family": n} for n in (4, 6) for r in said[f"rules{n}"]]
        addresses = {a["ifname"]: tuple(a["addr_info"]) for a in said["addresses"] if a}
        return cls(
            tuple(filter(None, said["links"])),
            addresses,
            tuple(routes),
            tuple(rules),
            tuple(said["neighbours"]),
        )

    def link(self, name: str) -> Entry | None:
        return next((link for link in self.links if link["ifname"] == name), None)

    def ports(self, master: str) -> tuple[str, ...]:
        return tuple(link["ifname"] for link in self.links if link.get("master") == master)

    def device(self, name: str, settings: Mapping[str, str] | None = None) -> Device:
        """Raises `KeyError` where there is none of that name."""
        link = self.link(name)
        if link is None:
            raise KeyError(name)
        return Device(
            name,
            str(link.get("address", "")),
            int(link["mtu"]),
            "UP" in link["flags"],
            self.addresses.get(name, ()),
            tuple(self._routes(name)),
            tuple(r for r in self.rules if name in (r.get("iif"), r.get("oif"))),
            tuple(n for n in self.neighbours if n.get("dev") == name),
            settings or {},
        )

    def _routes(self, name: str) -> Iterator[Entry]:
        by_themselves = self._connected(name)
        for route in self.routes:
            hops = route.get("nexthops", [route])
            if route.get("table") == OWN_TABLE or all(hop.get("dev") != name for hop in hops):
                continue
            if route.get("protocol") == "kernel" and _key(route) in by_themselves:
                continue
            yield route

    def _connected(self, name: str) -> set[tuple[str, int]]:
        """The routes that the kernel makes, and takes away, with the addresses of ``name``."""
        found: set[tuple[str, int]] = {("ff00::/8", 256)}
        for entry in self.addresses.get(name, ()):
            if entry.get("noprefixroute"):
                continue
            metric = int(entry.get("metric", 0 if entry["family"] == "inet" else 256))
            found.add((network(entry), metric))
        return found


def network(entry: Entry) -> str:
    """The subnet of an address as routes name it: a single host has no prefix length there."""
    import ipaddress

    far = entry.get("address", entry["local"])
    net = ipaddress.ip_network(f"{far}/{entry['prefixlen']}", strict=False)
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)


def _advertised(entry: Entry) -> bool:
    """Of DHCP it would be a single host's."""
    passes = entry.get("dynamic") or entry.get("temporary") or entry.get("mngtmpaddr")
    return entry["family"] == "inet6" and bool(passes) and int(entry["prefixlen"]) == 64


def _key(route: Entry) -> tuple[str, int]:
    return str(route["dst"]), int(route.get("metric", 0))


QUESTIONS = {
    "links": "-details link show",
    "addresses": "address show",
    "routes4": "-details -4 route show table all",
    "routes6": "-details -6 route show table all",
    "rules4": "-details -4 rule show",
    "rules6": "-details -6 rule show",
    "neighbours": "neigh show",
}


def ask() -> dict[str, list[dict[str, Any]]]:
    """What ip(8) answers in the calling thread's network namespace.

    Also where the operator has stopped the run: what was begun is put back then.
    """
    return {
        name: json.loads(run(["ip", "-json", *words.split()], timeout=20, finish=True).out or "[]")
        for name, words in QUESTIONS.items()
    }


def gather() -> Facts:
    return Facts.of(ask())


def settings_of(name: str, root: Path = SETTINGS) -> dict[str, str]:
    """The kernel's settings of a device, as far as they are the operator's to choose."""
    found = {}
    for family in ("ipv4", "ipv6"):
        folder = root / family / "conf" / name
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name in LEFT or not path.stat().st_mode & 0o200:
                continue
            try:
                found[f"{family}/conf/{path.name}"] = path.read_text().strip()
            except OSError:
                continue
    return found


def setting_path(key: str, device: str, root: Path = SETTINGS) -> Path:
    family, conf, name = key.split("/")
    return root / family / conf / device / name
