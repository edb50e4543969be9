"""Chains of the machine's packet filter that drop what is forwarded, or what comes in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onestack.host.filter_rules import DROP, Packet, Part, Rules, fits, place_of

_NOBODY = "\0"
"""A device that no rule names."""
FIREWALLD = "firewalld"
_TOGETHER = 15
"""As many ports one rule of iptables' may have, and one of ufw's."""


@dataclass(frozen=True)
class Way:
    """Devices (or beginnings, with a *) whose packets are surely dropped that way, and others.

    A * alone are all that neither names.
    """

    closed: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    """Of which something passes, or may."""

    def drops(self, device: str) -> bool:
        if device in self.spared:
            return False
        if device in self.closed:
            return True
        spared = any(fits(one, device) for one in self.spared if one != "*")
        return not spared and any(fits(one, device) for one in self.closed)


_NONE = Way()


@dataclass(frozen=True)
class ClosedChain:
    """A chain that drops or refuses, in the end, what no rule of it accepts."""

    hook: str
    """``forward`` or ``input``."""
    family: str
    table: str
    chain: str
    setter: str = ""
    """Who commonly has such a chain; empty where nothing tells."""
    program: str = ""
    """By whose words a rule is put there: ``iptables``, ``iptables-legacy``; else nft's."""
    leaving: Way = _NONE
    """From a device to the outside."""
    arriving: Way = _NONE
    within: Way = _NONE
    """From a device to the same: what only passes a bridge."""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ClosedChain:
        """From what `dataclasses.asdict` makes of one."""
        ways = {way: Way(**plain[way]) for way in ("leaving", "arriving", "within")}
        return cls(**{**plain, **ways})

    @property
    def older(self) -> bool:
        """Of the kernel's older filter, which nft does not show."""
        return self.program == "iptables-legacy"

    @property
    def name(self) -> str:
        """For people: with its table."""
        of = " (iptables-legacy)" if self.older else ""
        return f"{self.chain} of the table {self.family} {self.table}{of}"

    @property
    def who(self) -> str:
        return self.setter or "somebody"

    def drops(self, device: str) -> bool:
        """Whether it drops what is forwarded from ``device`` to the outside, and back."""
        return self.leaving.drops(device) and self.arriving.drops(device)

    def opening(self, *rules: Mapping[str, str]) -> str:
        """Commands after which it accepts what each of ``rules`` says: ``in``, ``out``, ``dport``.

        A rule of another table would do nothing: a packet must be accepted by every one. Where
        ufw has made it, its own words, which last; and firewalld's for ports.
        """
        return "; ".join(itertools.chain.from_iterable(map(self._opened, rules)))

    def _opened(self, rule: Mapping[str, str]) -> Iterator[str]:
        ports = rule.get("dport", "").split(",")
        if self.setter == FIREWALLD and "dport" in rule:
            zone = "$(firewall-cmd --get-default-zone)"
            if "in" in rule:
                own = f"firewall-cmd --get-zone-of-interface={rule['in']}"
                zone = f"$({own} || firewall-cmd --get-default-zone)"
            every = " ".join(f"--add-port={port}/tcp" for port in ports)
            yield f"firewall-cmd --permanent --zone={zone} {every}"
            yield "firewall-cmd --reload"
            return
        for some in range(0, len(ports), _TOGETHER):
            now = dict(rule)
            if "dport" in rule:
                now["dport"] = ",".join(ports[some : some + _TOGETHER])
            yield self._command(now)

    def _command(self, rule: Mapping[str, str]) -> str:
        if self.setter == "ufw":
            verb = "ufw route allow" if self.hook == "forward" else "ufw allow"
            options = {"in": "in on {}", "out": "out on {}", "dport": "proto tcp to any port {}"}
            return f"{verb} {_filled(options, rule)}"
        if self.program:
            rule = {key: re.sub(r"\*$", "+", value) for key, value in rule.items()}
            options = {"in": "-i {}", "out": "-o {}", "dport": "-p tcp -m multiport --dports {}"}
            return f"{self.program} -I {self.chain} {_filled(options, rule)} -j ACCEPT"
        rule = {k: f"'\"{v}\"'" if v.endswith("*") else v for k, v in rule.items()}
        options = {"in": "iifname {}", "out": "oifname {}", "dport": "tcp dport '{{ {} }}'"}
        place = f"{self.family} {self.table} {self.chain}"
        return f"nft insert rule {place} {_filled(options, rule)} accept"


def _filled(options: Mapping[str, str], rule: Mapping[str, str]) -> str:
    return " ".join(options[key].format(value) for key, value in rule.items())


def closed_chains(ruleset: Part, outside: str = "") -> Iterator[ClosedChain]:
    """Those at ``forward``, of a ruleset as `nftables.ruleset` has it.

    ``outside`` is the device of the default route; without one nobody knows where packets go.
    """
    rules = Rules.of(ruleset)
    beyond = outside or None
    for base in rules.at("forward"):
        ways: dict[str, tuple[list[str], list[str]]] = {}
        for device in (_NOBODY, *sorted(rules.devices(base))):
            packets = {
                "leaving": (Packet(device, beyond), Packet(device)),
                "arriving": (Packet(beyond, device), Packet(None, device)),
                "within": (Packet(device, device, bridged=None),),
            }
            for way, (first, *anywhere) in packets.items():
                # an accepted one that goes elsewhere is a decision about the device all the same
                decided = any("decided" in rules.ends(base, each) for each in anywhere)
                closed = not decided and rules.ends(base, first) == DROP
                each = ways.setdefault(way, ([], []))
                each[0 if closed else 1].append("*" if device == _NOBODY else device)
        if any("*" in closed for closed, _ in ways.values()):
            found = {way: Way(tuple(closed), tuple(not_)) for way, (closed, not_) in ways.items()}
            yield _named(rules, base, **found)


def shut_ports(
    ruleset: Part, device: str, ports: Sequence[int], protocol: str = "tcp"
) -> Iterator[tuple[ClosedChain, list[int]]]:
    """Of ``ports``, those that surely nobody reaches by ``device``, and who sees to that."""
    rules = Rules.of(ruleset)
    for base in rules.at("input"):
        packets = {port: Packet(device, port=port, protocol=protocol) for port in ports}
        if shut := [port for port, each in packets.items() if rules.ends(base, each) == DROP]:
            yield _named(rules, base), shut


def _named(
    rules: Rules, base: Part, leaving: Way = _NONE, arriving: Way = _NONE, within: Way = _NONE
) -> ClosedChain:
    where = (base["hook"], base["family"], base["table"], base["name"])
    by = (_setter(rules, base), _program(rules, base))
    return ClosedChain(*where, *by, leaving, arriving, within)


def _setter(rules: Rules, base: Part) -> str:
    """By the name of the table, or of chains that packets come through from there.

    Both Docker and ufw drop what is forwarded; what is typed for ufw lasts.
    """
    if base["table"] == FIREWALLD:
        return FIREWALLD
    names = rules.reached(base)
    if any(name.startswith("ufw-") for name in names):
        return "ufw"
    docker = base["hook"] == "forward" and any(name.startswith("DOCKER") for name in names)
    return "Docker" if docker else ""


def _program(rules: Rules, base: Part) -> str:
    """Many have a table of their own by the name of iptables', which that cannot change."""
    if said := str(base.get("program", "")):
        return said
    place = place_of(base, "")
    iptables = place[:2] == ("ip", "filter") and base["name"] in ("INPUT", "FORWARD")
    return "iptables" if iptables and place not in rules.foreign else ""
