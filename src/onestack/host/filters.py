"""What the machine's packet filter does with a packet, as far as devices and TCP ports say.

Rules are as nft prints them (JSON); those of the kernel's older filter are brought into the
same form (`onestack.host.iptables.parts`). Followed are rules of chains, from a hook on: what
a rule asks of addresses, marks and the like is not known, so that it decides nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Part = Mapping[str, Any]
_NOBODY = "\0"
"""A device that no rule names."""
_SIGNS = (("DOCKER", "Docker"), ("ufw-", "ufw"))
"""How names of chains begin, and whose they are."""
FIREWALLD = "firewalld"
_TOGETHER = 15
"""As many ports one rule of iptables' may have, and one of ufw's."""


@dataclass(frozen=True)
class Packet:
    """The first one of a connection by IPv4. ``None``: whatever device or port it may be."""

    inward: str | None = None
    outward: str | None = None
    port: int | None = None
    """TCP's, at the side that is asked."""


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
    older: bool = False
    """Of the kernel's older filter, which nft does not show."""
    spared: tuple[str, ...] = ()
    """Devices (or beginnings, with a *) of which something is accepted: somebody's decision."""
    barred: tuple[str, ...] = ()
    """Devices that its rules name too, and accept nothing of."""
    bridged: tuple[str, ...] = ()
    """Those of either kind of which is accepted what comes from the device and goes there."""

    @property
    def name(self) -> str:
        """For people: with its table."""
        of = " (iptables-legacy)" if self.older else ""
        return f"{self.chain} of the table {self.family} {self.table}{of}"

    @property
    def who(self) -> str:
        return self.setter or "somebody"

    def drops(self, device: str) -> bool:
        """Whether it drops what comes from ``device``, and what goes there."""
        if device in self.spared:
            return False
        return device in self.barred or not any(_fits(one, device) for one in self.spared)

    def drops_within(self, bridge: str) -> bool:
        """Whether it drops what only passes ``bridge``, where br_netfilter shows it that."""
        if bridge in self.bridged:
            return False
        named = bridge in (*self.spared, *self.barred)
        return named or not any(_fits(one, bridge) for one in self.bridged)

    def opening(self, *rules: Mapping[str, str]) -> str:
        """Commands after which it accepts what each of ``rules`` says: ``in``, ``out``, ``dport``.

        A rule of another table would do nothing: a packet must be accepted by every one. Where
        ufw has made it, its own words, which last.
        """
        return "; ".join(itertools.chain.from_iterable(map(self._opened, rules)))

    def _opened(self, rule: Mapping[str, str]) -> Iterator[str]:
        ports = rule.get("dport", "").split(",")
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
        if self.family == "ip" and self.table == "filter":
            rule = {key: re.sub(r"\*$", "+", value) for key, value in rule.items()}
            program = "iptables-legacy" if self.older else "iptables"
            options = {"in": "-i {}", "out": "-o {}", "dport": "-p tcp -m multiport --dports {}"}
            return f"{program} -I {self.chain} {_filled(options, rule)} -j ACCEPT"
        rule = {k: f"'\"{v}\"'" if v.endswith("*") else v for k, v in rule.items()}
        options = {"in": "iifname {}", "out": "oifname {}", "dport": "tcp dport '{{ {} }}'"}
        place = f"{self.family} {self.table} {self.chain}"
        return f"nft insert rule {place} {_filled(options, rule)} accept"


def _filled(options: Mapping[str, str], rule: Mapping[str, str]) -> str:
    return " ".join(options[key].format(value) for key, value in rule.items())


def closed_chains(ruleset: Part, hook: str) -> Iterator[ClosedChain]:
    """Those at ``hook`` (``forward``, ``input``), of a ruleset as `nftables.ruleset` has it."""
    rules = _Rules.of(ruleset)
    for base in rules.at(hook):
        if rules.passes(base, Packet(_NOBODY)):
            continue
        spared: set[str] = set()
        barred: set[str] = set()
        bridged: set[str] = set()
        for device in rules.devices(base):
            ways = [Packet(inward=device)]
            if hook == "forward":
                ways.append(Packet(outward=device))
            passes = any(rules.passes(base, way) for way in ways)
            (spared if passes else barred).add(device)
            if hook == "forward" and rules.passes(base, Packet(device, device)):
                bridged.add(device)
        yield dataclasses.replace(
            rules.named(base),
            spared=tuple(sorted(spared)),
            barred=tuple(sorted(barred)),
            bridged=tuple(sorted(bridged)),
        )


def shut_ports(
    ruleset: Part, device: str, ports: Sequence[int]
) -> Iterator[tuple[ClosedChain, list[int]]]:
    """Of ``ports``, those that nobody reaches by ``device``, and each chain that sees to that."""
    rules = _Rules.of(ruleset)
    for base in rules.at("input"):
        if shut := [port for port in ports if not rules.passes(base, Packet(device, port=port))]:
            yield rules.named(base), shut


Place = tuple[str, str, str, bool]


def _place(chain: Part) -> Place:
    """Family, table and name of a chain, and whether it is of the older filter."""
    return (chain["family"], chain["table"], chain["name"], chain.get("older", False))


@dataclass
class _Rules:
    bases: list[Part] = field(default_factory=list)
    """Chains that the kernel begins with."""
    chains: dict[Place, list[Sequence[Part]]] = field(default_factory=dict)
    """The rules of each chain."""
    sets: dict[Place, list[Any]] = field(default_factory=dict)
    """What is in each named set and map."""

    @classmethod
    def of(cls, ruleset: Part) -> _Rules:
        found = cls()
        for part in ruleset["nftables"]:
            if chain := part.get("chain"):
                if not {"family", "table", "name"} <= set(chain):
                    continue
                found.chains.setdefault(_place(chain), [])
                if "hook" in chain:
                    found.bases.append(chain)
            elif rule := part.get("rule"):
                place = _place({**rule, "name": rule["chain"]})
                found.chains.setdefault(place, []).append(rule["expr"])
            elif each := part.get("set") or part.get("map"):
                found.sets[_place(each)] = each.get("elem", [])
        return found

    def at(self, hook: str) -> Iterator[Part]:
        """Where packets of IPv4 begin at that hook."""
        for base in self.bases:
            if base["hook"] == hook and base["family"] in ("ip", "inet"):
                yield base

    def named(self, base: Part) -> ClosedChain:
        place = (base["hook"], *_of(base), base["name"])
        return ClosedChain(*place, self.setter(base), older=base.get("older", False))

    def setter(self, base: Part) -> str:
        """By the name of the table, or of its chains."""
        if base["table"] == FIREWALLD:
            return FIREWALLD
        names = [name for family, table, name, _ in self.chains if (family, table) == _of(base)]
        for sign, who in _SIGNS:
            if any(name.startswith(sign) for name in names):
                return who
        return ""

    def passes(self, base: Part, packet: Packet) -> bool:
        said = _Walk(self, packet, base).chain(base["name"], True, ())
        return (said or base.get("policy", "accept")) == "accept"

    def devices(self, base: Part) -> set[str]:
        """All that rules of its table name."""
        found: set[str] = set()
        for place, rules in self.chains.items():
            if place[:2] == _of(base) and place[3] == base.get("older", False):
                for rule in rules:
                    found.update(self._named(rule, base))
        return found

    def _named(self, rule: Sequence[Part], base: Part) -> Iterator[str]:
        for part in rule:
            if match := part.get("match"):
                if _key(match["left"]) in _DEVICES:
                    yield from filter(_is_text, self.values(match["right"], base))
            elif (table := part.get("vmap")) and _key(table["key"]) in _DEVICES:
                pairs = self.values(table["data"], base)
                yield from (pair[0] for pair in pairs if _is_text(pair[0]))

    def values(self, right: Any, base: Part) -> list[Any]:
        """What is on a match's right side, each by itself."""
        if isinstance(right, str) and right.startswith("@"):
            place = (base["family"], base["table"], right[1:], base.get("older", False))
            right = self.sets.get(place, [])
        if isinstance(right, dict) and "set" in right:
            right = right["set"]
        found = right if isinstance(right, list) else [right]
        return [each["elem"]["val"] if _is_element(each) else each for each in found]


def _of(base: Part) -> tuple[str, str]:
    return (base["family"], base["table"])


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_element(value: Any) -> bool:
    return isinstance(value, dict) and "val" in value.get("elem", {})


@dataclass
class _Walk:
    """The way of one packet from the chain ``base`` on."""

    rules: _Rules
    packet: Packet
    base: Part

    def chain(self, name: str, certain: bool, way: tuple[str, ...]) -> str:
        """``accept`` or ``drop``, or nothing where it comes to its end.

        ``way`` are the chains it comes through: no rules go round, and nothing here relies on it.
        """
        if name in way:
            return ""
        place = (*_of(self.base), name, self.base.get("older", False))
        for rule in self.rules.chains.get(place, []):
            said = self._rule(rule, certain, (*way, name))
            if said in ("return", "end"):
                return ""
            if said == "perhaps":
                certain = False
            elif said:
                return said
        return ""

    def _rule(self, rule: Sequence[Part], certain: bool, way: tuple[str, ...]) -> str:
        """As `chain`; also ``return``, ``perhaps`` for one, and ``end`` after a ``goto``."""
        sure, named = True, False
        verdict: Part = {}
        for part in rule:
            if _is_verdict(part):
                verdict = part
                continue
            fits, names = self._fits(part)
            if fits is False:
                return ""
            sure, named = sure and fits is True, named or names
            if "vmap" in part:
                verdict = self._looked_up(part["vmap"])
                # by a device's own name
                named = named or (bool(verdict) and _key(part["vmap"]["key"]) in _DEVICES)
        if "return" in verdict:
            # Of what may have gone back nothing after it is dropped for certain.
            return "return" if sure else "perhaps"
        # What is asked beside a device is a decision about that device all the same.
        return self._carried_out(verdict, sure and certain, way) if sure or named else ""

    def _carried_out(self, verdict: Part, certain: bool, way: tuple[str, ...]) -> str:
        if "accept" in verdict or "queue" in verdict:
            # what a program is asked about is that program's to say
            return "accept"
        for kind in ("jump", "goto"):
            if kind in verdict:
                said = self.chain(verdict[kind]["target"], certain, way)
                return said or ("end" if kind == "goto" and certain else "")
        return "drop" if verdict and certain else ""

    def _fits(self, part: Part) -> tuple[bool | None, bool]:
        """Whether a packet is as ``part`` asks (``None``: perhaps), and by its device's name."""
        if "match" not in part:
            harmless = ("counter", "log", "comment", "vmap", "mangle", "notrack")
            return (True if any(one in part for one in harmless) else _xt(part)), False
        match = part["match"]
        keys, right = _keys(match["left"]), self.rules.values(match["right"], self.base)
        found = self._found(keys[0], right) if len(keys) == 1 else self._together(keys, right)
        if match["op"] == "!=":
            return (None if found is None else not found), False
        return found, bool(found) and any(key in _DEVICES for key in keys)

    def _together(self, keys: Sequence[str], right: Sequence[Any]) -> bool | None:
        """Of several that are asked at once, such as ``iifname . tcp dport``."""
        perhaps = False
        for one in right:
            parts = one.get("concat", ()) if isinstance(one, dict) else ()
            found = [self._found(key, [part]) for key, part in zip(keys, parts, strict=False)]
            if found and all(found):
                return True
            perhaps = perhaps or False not in found
        return None if perhaps else False

    def _found(self, key: str, right: Sequence[Any]) -> bool | None:
        if key in _DEVICES:
            device = self.packet.inward if key == "iifname" else self.packet.outward
            names = [one for one in right if isinstance(one, str)]
            if device is None:
                # in and out at once: what comes from anywhere may come from there
                return True if "*" in names else None
            return any(_fits(name, device) for name in names)
        if key in ("ct state", "tcp dport"):
            wanted = "new" if key == "ct state" else self.packet.port
            return None if wanted is None else any(_is_in(wanted, one) for one in right)
        if key in ("l4proto", "protocol"):
            return "tcp" in right or 6 in right or (None if self.packet.port is None else False)
        if key == "nfproto":
            return "ipv4" in right
        return False if key.startswith(("ip6 ", "icmpv6 ")) else None

    def _looked_up(self, vmap: Part) -> Part:
        key = _key(vmap["key"])
        for pair in self.rules.values(vmap["data"], self.base):
            if self._found(key, [pair[0]]) is True:
                return pair[1] if isinstance(pair[1], dict) else {pair[1]: None}
        return {}


_DEVICES = ("iifname", "oifname")
_VERDICTS = ("accept", "drop", "reject", "jump", "goto", "return", "queue")


def _is_verdict(part: Part) -> bool:
    if "xt" in part:
        xt = part["xt"] or {}
        # of iptables' own targets the only one that lets nothing through
        return xt.get("type") == "target" and xt.get("name") == "REJECT"
    return any(kind in part for kind in _VERDICTS)


def _xt(part: Part) -> bool | None:
    """An extension of iptables': a target only does something, a match asks what is not known."""
    return True if (part.get("xt") or {}).get("type") == "target" else None


def _keys(left: Any) -> list[str]:
    if isinstance(left, dict) and "concat" in left:
        return [_key(each) for each in left["concat"]]
    return [_key(left)]


def _key(left: Any) -> str:
    """What a match asks for: ``iifname``, ``ct state``, ``tcp dport``, or another word."""
    if not isinstance(left, dict):
        return ""
    if meta := left.get("meta"):
        # by number and by name, which is the same to a device that is there
        return {"iif": "iifname", "oif": "oifname"}.get(meta["key"], str(meta["key"]))
    if ct := left.get("ct"):
        return f"ct {ct['key']}"
    payload = left.get("payload") or {}
    # a port of whatever protocol is TCP's too
    protocol = str(payload.get("protocol", "")).replace("th", "tcp")
    return f"{protocol} {payload.get('field', '')}"


def _fits(pattern: str, device: str) -> bool:
    """A name of a device, or its beginning with a *."""
    if pattern.endswith("*") and not pattern.endswith(r"\*"):
        return device.startswith(pattern[:-1])
    return pattern == device


def _is_in(value: Any, one: Any) -> bool:
    if isinstance(one, dict) and "range" in one:
        low, high = one["range"]
        return isinstance(value, int) and low <= value <= high
    return bool(value == one)
