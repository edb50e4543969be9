"""Rules of the kernel's older packet filter, which nft does not show."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.host.filter_rules import BRIDGED
from onestack.model.errors import OnestackError

TABLES = Path("/proc/thread-self/net")
"""Where the kernel says which tables the calling thread's network has."""
FAMILIES = {"ip": "iptables", "ip6": "ip6tables"}


PROGRAM = Path("/usr/sbin/iptables")


def is_older(program: Path = PROGRAM) -> bool:
    """Whether ``iptables`` is the one of the older filter here, and not nftables' by that name."""
    return program.resolve().name == "xtables-legacy-multi"


def saved() -> dict[str, str]:
    """Family to all its rules in the calling thread's network, as iptables-save has them.

    Raises `OnestackError` where there are some, and no program that shows them.
    """
    found = {}
    for family, program in FAMILIES.items():
        if not tables(program):
            continue
        for name in (f"{program}-legacy-save", f"{program}-save"):
            with contextlib.suppress(OnestackError):
                found[family] = run([name], timeout=20).out
                break
        else:
            raise OnestackError(
                f"the rules of {program} cannot be looked at",
                f"the kernel has the tables {', '.join(tables(program))} of it, and "
                f"{program}-legacy-save does not work here",
                "install iptables",
            )
    return found


def tables(program: str) -> list[str]:
    name = program.replace("tables", "_tables_names")
    try:
        return (TABLES / name).read_text().split()
    except OSError:
        return []


def naming(saved: dict[str, str], device: str) -> Iterator[str]:
    """The chain of each rule about what comes by ``device`` or goes there, for people."""
    for family, text in saved.items():
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                words = shlex.split(line)
                pairs = itertools.pairwise(words)
                if any(option in ("-i", "-o") and _is(name, device) for option, name in pairs):
                    yield f"{words[1]} of the table {family} {table} (iptables)"


def explained(rules: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """``rules`` as nft prints them, with what iptables has put there told by iptables.

    Of an extension of iptables' (multiport, conntrack) nft tells the name only.
    """
    known = [*rules]
    if not any("xt" in expr for part in known if _of_filter(part) for expr in _expr(part)):
        return known
    try:
        said = run(["iptables-nft-save", "-t", "filter"], timeout=20).out
    except OnestackError:
        return known
    told = [*parts({"ip": said}, "iptables")]
    chains = {part["chain"]["name"] for part in told if "chain" in part}
    # Somebody else may have put chains there which iptables passes over.
    return [*(part for part in known if not (_of_filter(part) and _chain(part) in chains)), *told]


def _chain(part: Mapping[str, Any]) -> str:
    return str(part["rule"]["chain"] if "rule" in part else part["chain"]["name"])


def _of_filter(part: Mapping[str, Any]) -> bool:
    """Whether it is a chain or rule of iptables' own table."""
    each = part.get("rule") or part.get("chain")
    if not isinstance(each, Mapping):
        return False
    named = isinstance(each.get("chain" if "rule" in part else "name"), str)
    return named and (each.get("family"), each.get("table")) == ("ip", "filter")


def _expr(part: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Without a chain that has no name: nft prints that as it stands."""
    said = part["rule"].get("expr") if "rule" in part else None
    return [each for each in said if isinstance(each, Mapping)] if isinstance(said, list) else []


_HOOKS = ("INPUT", "FORWARD", "OUTPUT")
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_TARGETS |= {"QUEUE": "queue", "NFQUEUE": "queue"}


def parts(saved: dict[str, str], program: str = "iptables-legacy") -> Iterator[dict[str, Any]]:
    """Chains and rules of the tables ``filter``, in the form in which nft prints its own.

    ``program`` is the one whose they are, and by which others are put there.
    """
    for family, text in saved.items():
        table, chains = "", set[str]()
        for line in text.splitlines():
            if line.startswith("*"):
                table, chains = line[1:], set()
            if table != "filter":
                continue
            place: dict[str, Any] = {"family": family, "table": table, "program": program}
            if line.startswith(":"):
                name, policy = line[1:].split()[:2]
                chains.add(name)
                hook = {"hook": name.lower(), "policy": policy.lower()} if name in _HOOKS else {}
                yield {"chain": {**place, "name": name, **hook}}
            elif line.startswith("-A "):
                _, name, *words = shlex.split(line)
                yield {"rule": {**place, "chain": name, "expr": [*_expressions(words, chains)]}}


def _expressions(words: list[str], chains: set[str]) -> Iterator[dict[str, Any]]:
    """Of one rule; what is asked by an option that is not known here is an ``xt`` of its name."""
    left, op = list(words), "=="
    while left:
        word = left.pop(0)
        if word == "!":
            op = "!="
            continue
        if word in ("-j", "-g"):
            # what follows is the target's own
            yield _verdict(word, left[0], chains)
            return
        values = [*itertools.takewhile(lambda each: each != "!" and each[:1] != "-", left)]
        del left[: len(values)]
        if word not in ("-m", "--comment"):
            try:
                yield _match(word, " ".join(values), op)
            except ValueError:
                yield _other(word)
        op = "=="


def _match(option: str, value: str, op: str) -> dict[str, Any]:
    if option in ("-i", "-o"):
        name = f"{value[:-1]}*" if value.endswith("+") else value
        asked: dict[str, Any] = {"meta": {"key": "iifname" if option == "-i" else "oifname"}}
        return {"match": {"op": op, "left": asked, "right": name}}
    if option == "-p":
        return {"match": {"op": op, "left": {"meta": {"key": "l4proto"}}, "right": value}}
    if option in ("--dport", "--dports"):
        asked = {"payload": {"protocol": "tcp", "field": "dport"}}
        ports = {"set": [*map(_port, value.split(","))]}
        return {"match": {"op": op, "left": asked, "right": ports}}
    if option in ("--ctstate", "--state"):
        states = {"set": value.lower().split(",")}
        return {"match": {"op": op, "left": {"ct": {"key": "state"}}, "right": states}}
    if option == "--physdev-is-bridged":
        return {"match": {"op": op, "left": {"meta": {"key": BRIDGED}}, "right": "yes"}}
    return _other(option)


def _other(option: str) -> dict[str, Any]:
    return {"xt": {"type": "match", "name": option}}


def _port(text: str) -> Any:
    low, several, high = text.partition(":")
    return {"range": [int(low or 0), int(high or 65535)]} if several else int(low)


def _verdict(option: str, target: str, chains: set[str]) -> dict[str, Any]:
    if target in chains:
        return {"goto" if option == "-g" else "jump": {"target": target}}
    if target in _TARGETS:
        return {_TARGETS[target]: None}
    return {"xt": {"type": "target", "name": target}}


def _is(pattern: str, device: str) -> bool:
    return device.startswith(pattern[:-1]) if pattern.endswith("+") else pattern == device
