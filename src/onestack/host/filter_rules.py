"""What may become of a packet by the rules of a filter, as far as its devices and port say.

Rules are as nft prints them (JSON); those of iptables are brought into the same form
(`onestack.host.iptables.parts`). What a rule asks of addresses, marks and the like is not known,
and what nft prints in a form of its own is not either: the packet may go either way there. So
that all ways are followed, and what is said of a packet is the set of its possible ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Part = Mapping[str, Any]
Atom = str | int | tuple[int, int] | None
"""What a match compares with: a word, a number, a range; ``None`` for what is not understood."""
Values = tuple[tuple[Atom, ...], ...] | None
"""Each with as many as the match has keys; ``None`` where nobody says which they are."""
Ends = frozenset[str]
DEVICES = ("iifname", "oifname")
BRIDGED = "bridged"
"""Asked by iptables alone (physdev), and by neutron's rules of guests' ports before all else."""

ACCEPT, DROP, ON = Ends({"accept"}), Ends({"drop"}), Ends({""})
DECIDED = Ends({"decided"})
"""Accepted by a rule that names the packet's device: somebody has thought of that one."""
ANYTHING = ACCEPT | DROP | ON

_NUMBERS = {"tcp": 6, "udp": 17}
_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ct state": ("new", ("established", "related", "invalid", "dnat", "snat")),
    "ct status": ("", ("expected", "seen-reply", "assured", "dnat", "snat")),
    "protocol": ("ip", ("ip6", "arp", "vlan")),
    "ether type": ("ip", ("ip6", "arp", "vlan", "8021q")),
    "nfproto": ("ipv4", ("ipv6",)),
}
"""What the packet is, of what a key asks, and what it is not."""
_ASKED = (
    *DEVICES,
    BRIDGED,
    "tcp dport",
    "udp dport",
    "th dport",
    "l4proto",
    "ip protocol",
    *_WORDS,
)
"""All that is known of a packet; a set of addresses may have many thousands."""
_HARMLESS = ("counter", "log", "comment", "mangle", "notrack", "flow", "dup", "last", "ct helper")
_CONDITIONS = ("limit", "quota", "ct count", "ct timeout", "meter", "set", "map")
_VERDICTS = ("accept", "drop", "reject", "jump", "goto", "return", "queue", "continue")
_TARGETS = (
    *("AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HMARK"),
    *("IDLETIMER", "LED", "LOG", "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS"),
    *("TEE", "TOS", "TRACE", "TTL", "ULOG", "connmark", "mark", "set"),
)
"""Of iptables' targets those after which a packet goes on."""


@dataclass(frozen=True)
class Packet:
    """The first one of a connection by IPv4, which nobody has sent elsewhere.

    ``None``: whatever device or port it may be.
    """

    inward: str | None = None
    outward: str | None = None
    port: int | None = None
    """At the side that is asked."""
    protocol: str = "tcp"
    bridged: bool | None = False
    """Whether it only passes a bridge."""


@dataclass(frozen=True)
class Asks:
    keys: tuple[str, ...]
    values: Values
    negated: bool = False


@dataclass(frozen=True)
class Perhaps:
    """A condition that is not known."""


@dataclass(frozen=True)
class Verdict:
    kind: str
    """One of nft's, or ``unknown``: whatever may become of the packet there."""
    target: str = ""


@dataclass(frozen=True)
class Chooses:
    """A map of verdicts; ``None`` where nobody says what is in it."""

    keys: tuple[str, ...]
    pairs: tuple[tuple[tuple[Atom, ...], Verdict], ...] | None


Statement = Asks | Perhaps | Verdict | Chooses
Rule = tuple[Statement, ...]
UNKNOWN = Verdict("unknown")
Place = tuple[str, str, str, str]


def place_of(part: Part, name: str) -> Place:
    """Of a chain or set: family, table, the program that it is shown by, and its name."""
    return (str(part["family"]), str(part["table"]), str(part.get("program", "")), name)


@dataclass
class Rules:
    """All that is in a packet filter."""

    bases: list[Part] = field(default_factory=list)
    """Chains that the kernel begins with."""
    chains: dict[Place, list[Rule]] = field(default_factory=dict)
    foreign: set[Place] = field(default_factory=set)
    """Tables (without a name of a chain) with rules that iptables has not made."""

    @classmethod
    def of(cls, ruleset: Part) -> Rules:
        """Of a ruleset as `nftables.ruleset` has it."""
        found, sets = cls(), dict[Place, Any]()
        parts = [part for part in ruleset["nftables"] if isinstance(part, Mapping)]
        for part in parts:
            each = _named_part(part, "set", "name") or _named_part(part, "map", "name")
            if each:
                sets[place_of(each, each["name"])] = each.get("elem", [])
        for part in parts:
            if chain := _named_part(part, "chain", "name"):
                found.chains.setdefault(place_of(chain, chain["name"]), [])
                if "hook" in chain:
                    found.bases.append(chain)
            elif rule := _named_part(part, "rule", "chain"):
                here = place_of(rule, rule["chain"])
                expr = rule.get("expr")
                expr = expr if isinstance(expr, list) else [None]
                read = tuple(_statements(expr, _Sets(here, sets)))
                found.chains.setdefault(here, []).append(read)
                if not here[2] and not any(_counts(each) for each in expr):
                    found.foreign.add((*here[:3], ""))
        return found

    def at(self, hook: str) -> Iterator[Part]:
        """Where packets of IPv4 begin at that hook."""
        for base in self.bases:
            if base["hook"] == hook and base["family"] in ("ip", "inet"):
                yield base

    def ends(self, base: Part, packet: Packet) -> Ends:
        """What may become of it: some of ``accept``, ``decided`` and ``drop``."""
        said = _Walk(self, packet, place_of(base, "")).chain(base["name"], False, ())
        if "" not in said:
            return said
        return (said - ON) | (DROP if base.get("policy") == "drop" else ACCEPT)

    def reached(self, base: Part) -> set[str]:
        """Names of the chains that a packet may come through."""
        found, new = set[str](), {str(base["name"])}
        while new:
            found |= new
            rules = [rule for name in new for rule in self.chains.get(place_of(base, name), [])]
            new = {name for rule in rules for name in _targets(rule)} - found
        return found

    def devices(self, base: Part) -> set[str]:
        """All that rules of its table name."""
        table = place_of(base, "")[:3]
        rules = [rule for place, each in self.chains.items() if place[:3] == table for rule in each]
        return {name for rule in rules for each in rule for name in _named(each)}


def _named_part(part: Part, kind: str, name: str) -> Part | None:
    """A chain, rule or set, if it is one and says where it is."""
    said = part.get(kind)
    if not isinstance(said, Mapping):
        return None
    return (
        said if all(isinstance(said.get(key), str) for key in ("family", "table", name)) else None
    )


def _counts(part: Any) -> bool:
    """As each rule that iptables makes, and few of others, which they may be taken for then."""
    return isinstance(part, Mapping) and ("counter" in part or "xt" in part)


def _targets(rule: Rule) -> Iterator[str]:
    for each in rule:
        if isinstance(each, Verdict):
            yield from filter(None, [each.target])
        elif isinstance(each, Chooses):
            yield from (verdict.target for _, verdict in each.pairs or () if verdict.target)


def _named(each: Statement) -> Iterator[str]:
    if isinstance(each, Asks):
        keys, values = each.keys, each.values or ()
    elif isinstance(each, Chooses):
        keys, values = each.keys, tuple(pair[0] for pair in each.pairs or ())
    else:
        return
    for value in values:
        for key, atom in zip(keys, value, strict=False):
            if key in DEVICES and isinstance(atom, str):
                yield atom


# -- the way of a packet ------------------------------------------------------


@dataclass
class _Walk:
    rules: Rules
    packet: Packet
    table: Place
    known: dict[tuple[str, bool], Ends] = field(default_factory=dict)

    def chain(self, name: str, named: bool, way: tuple[str, ...]) -> Ends:
        """Of a packet that comes there; with nothing (``""``) where it may come to the end.

        ``named``: whether its device has been asked for by name on the ``way``. No rules go
        round, and nothing here relies on it.
        """
        rules = self.rules.chains.get((*self.table[:3], name))
        if rules is None or name in way:
            return ANYTHING
        if (name, named) not in self.known:
            self.known[name, named] = self._followed(rules, named, (*way, name))
        return self.known[name, named]

    def _followed(self, rules: Sequence[Rule], named: bool, way: tuple[str, ...]) -> Ends:
        ends = Ends()
        for rule in rules:
            said = self._rule(rule, named, way)
            ends |= said - ON
            if "" not in said:
                break
        else:
            ends |= ON
        back = Ends({"return", "end"})
        return (ends - back) | ON if ends & back else ends

    def _rule(self, rule: Rule, named: bool, way: tuple[str, ...]) -> Ends:
        """As `chain`, where nothing is the next rule; also ``return``, and ``end`` after a goto."""
        sure = True
        for each in rule:
            if isinstance(each, Perhaps):
                sure = False
            elif isinstance(each, Asks):
                fits, by_name = self._asked(each)
                if fits is False:
                    return ON
                sure, named = sure and fits is True, named or by_name
            else:
                said = (
                    self._carried_out(each, named, way)
                    if isinstance(each, Verdict)
                    else self._chosen(each, named, way)
                )
                return said if sure else said | ON
        return ON

    def _carried_out(self, verdict: Verdict, named: bool, way: tuple[str, ...]) -> Ends:
        match verdict.kind:
            case "accept" | "queue":
                # what a program is asked about is that program's to say
                return DECIDED if named else ACCEPT
            case "drop" | "reject":
                return DROP
            case "return":
                return Ends({"return"})
            case "continue":
                return ON
            case "jump":
                return self.chain(verdict.target, named, way)
            case "goto":
                said = self.chain(verdict.target, named, way)
                return (said - ON) | {"end"} if "" in said else said
        return ANYTHING

    def _chosen(self, each: Chooses, named: bool, way: tuple[str, ...]) -> Ends:
        if each.pairs is None:
            return ANYTHING
        ends = Ends()
        for value, verdict in each.pairs:
            fits, by_name = self._is(each.keys, value)
            if fits is not False:
                ends |= self._carried_out(verdict, named or by_name, way)
            if fits:
                return ends
        return ends | ON

    def _asked(self, each: Asks) -> tuple[bool | None, bool]:
        """Whether the packet is so (``None``: perhaps), and by the name of its device."""
        if any(_of_others(key, self.packet.protocol) for key in each.keys):
            # whatever is asked of it: a packet of another protocol has no such thing
            return False, False
        if each.values is None:
            return None, False
        found = [self._is(each.keys, value) for value in each.values]
        fits = _any(fit for fit, _ in found)
        if each.negated:
            return (None if fits is None else not fits), False
        return fits, any(by_name for fit, by_name in found if fit is not False)

    def _is(self, keys: tuple[str, ...], value: tuple[Atom, ...]) -> tuple[bool | None, bool]:
        if len(keys) != len(value):
            return None, False
        found = [self._compared(key, atom) for key, atom in zip(keys, value, strict=True)]
        fits = False if False in found else None if None in found else True
        names = [key in DEVICES and fit is True for key, fit in zip(keys, found, strict=True)]
        return fits, any(names) and "*" not in value

    def _compared(self, key: str, atom: Atom) -> bool | None:
        if atom is None:
            return None
        if key in DEVICES:
            device = self.packet.inward if key == "iifname" else self.packet.outward
            if not isinstance(atom, str):
                return None
            # in and out at once: what comes from anywhere may come from there
            return fits(atom, device) if device is not None else True if atom == "*" else None
        if key in (f"{self.packet.protocol} dport", "th dport"):
            return None if self.packet.port is None else _within(self.packet.port, atom)
        if key in ("l4proto", "ip protocol"):
            if isinstance(atom, str) and not atom.isdigit():
                return atom == self.packet.protocol
            number = int(atom) if isinstance(atom, str) else atom
            return _within(_NUMBERS[self.packet.protocol], number)
        if key == BRIDGED:
            return self.packet.bridged
        own, others = _WORDS.get(key, ("", ()))
        return True if own and atom == own else False if atom in others else None


def _any(found: Iterable[bool | None]) -> bool | None:
    perhaps = False
    for each in found:
        if each:
            return True
        perhaps = perhaps or each is None
    return None if perhaps else False


def _of_others(key: str, protocol: str) -> bool:
    """Whether it asks for something that only packets of another protocol have."""
    owner, _, what = key.partition(" ")
    others = ("tcp", "udp", "udplite", "sctp", "dccp", "icmp", "igmp", "esp", "ah", "comp")
    return what != "" and (owner in ("ip6", "icmpv6") or (owner in others and owner != protocol))


def fits(pattern: str, device: str) -> bool:
    """A name of a device, or its beginning with a *."""
    if pattern.endswith("*") and not pattern.endswith(r"\*"):
        return device.startswith(pattern[:-1])
    return pattern == device


def _within(number: int, atom: Atom) -> bool | None:
    if isinstance(atom, tuple):
        return atom[0] <= number <= atom[1]
    return None if isinstance(atom, str) else number == atom


# -- what nft prints ----------------------------------------------------------

_WRONG = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a part of another form than expected leads to."""


@dataclass(frozen=True)
class _Sets:
    """The named sets and maps beside a rule."""

    place: Place
    all: Mapping[Place, Any]

    def elements(self, right: Any) -> list[Any] | None:
        if isinstance(right, str) and right.startswith("@"):
            right = self.all.get((*self.place[:3], right[1:]))
        if isinstance(right, Mapping) and "set" in right:
            right = right["set"]
        return None if right is None else right if isinstance(right, list) else [right]


def _statements(expr: Sequence[Any], sets: _Sets) -> Iterator[Statement]:
    for part in expr:
        try:
            yield from _read(part, sets)
        except _WRONG:
            yield Perhaps() if isinstance(part, Mapping) and "match" in part else UNKNOWN


def _read(part: Any, sets: _Sets) -> Iterator[Statement]:
    if not isinstance(part, Mapping):
        # a chain without a name, as nft prints it
        yield UNKNOWN
    elif "match" in part:
        yield _match(part["match"], sets)
    elif "vmap" in part:
        yield _map(part["vmap"], sets)
    elif "xt" in part:
        yield from _extension(part["xt"])
    elif any(each in part for each in _CONDITIONS):
        yield Perhaps()
    elif kinds := [kind for kind in _VERDICTS if kind in part]:
        yield _verdict({kinds[0]: part[kinds[0]]})
    elif not any(each in part for each in _HARMLESS):
        yield UNKNOWN


def _extension(said: Any) -> Iterator[Statement]:
    """One of iptables', of which nft has the name at most."""
    if said["type"] == "match":
        yield Perhaps()
    elif said["name"] == "REJECT":
        yield Verdict("drop")
    elif said["name"] not in _TARGETS:
        yield UNKNOWN


def _verdict(said: Any) -> Verdict:
    if isinstance(said, str):
        return Verdict(said)
    ((kind, what),) = said.items()
    if kind in ("jump", "goto"):
        return Verdict(kind, str(what["target"]))
    return Verdict(kind)


def _match(said: Any, sets: _Sets) -> Statement:
    op = said["op"]
    keys, elements = _keys(said["left"]), sets.elements(said["right"])
    if op not in ("==", "in", "!=") or not any(key in _ASKED for key in keys):
        # still of one protocol alone
        elements = None
    values = None if elements is None else tuple(_value(each, len(keys)) for each in elements)
    return Asks(keys, values, op == "!=")


def _map(said: Any, sets: _Sets) -> Chooses:
    keys, elements = _keys(said["key"]), sets.elements(said["data"])
    if elements is None:
        return Chooses(keys, None)
    pairs = [(_value(key, len(keys)), _verdict(verdict)) for key, verdict in elements]
    return Chooses(keys, tuple(pairs))


def _value(said: Any, keys: int) -> tuple[Atom, ...]:
    """With its comment, or what else an element has, it is one step deeper."""
    if isinstance(said, Mapping) and "elem" in said:
        said = said["elem"]["val"]
    several = isinstance(said, Mapping) and "concat" in said
    each = said["concat"] if several else [said]
    return tuple(map(_atom, each)) if len(each) == keys else (None,) * keys


def _atom(said: Any) -> Atom:
    if isinstance(said, Mapping) and "elem" in said:
        said = said["elem"]["val"]
    if isinstance(said, Mapping) and "range" in said:
        low, high = said["range"]
        return (low, high) if isinstance(low, int) and isinstance(high, int) else None
    return said if isinstance(said, str | int) and not isinstance(said, bool) else None


def _keys(left: Any) -> tuple[str, ...]:
    if isinstance(left, Mapping) and "concat" in left:
        return tuple(map(_key, left["concat"]))
    return (_key(left),)


def _key(left: Any) -> str:
    """What is asked for: ``iifname``, ``ct state``, ``tcp dport``, or another word."""
    if meta := left.get("meta"):
        # by number and by name, which is the same to a device that is there
        return {"iif": "iifname", "oif": "oifname"}.get(meta["key"], str(meta["key"]))
    if ct := left.get("ct"):
        return f"ct {ct['key']}"
    if payload := left.get("payload"):
        return f"{payload['protocol']} {payload['field']}"
    return ""
