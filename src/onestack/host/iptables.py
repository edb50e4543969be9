"""Rules of the kernel's older packet filter, which nft does not show."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onestack.host.command import run
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


_HOOKS = ("INPUT", "FORWARD", "OUTPUT")
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_TARGETS |= {"QUEUE": "queue", "NFQUEUE": "queue"}


def parts(saved: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Chains and rules of the tables ``filter``, in the form in which nft prints its own."""
    for family, text in saved.items():
        table, chains = "", set[str]()
        for line in text.splitlines():
            if line.startswith("*"):
                table, chains = line[1:], set()
            if table != "filter":
                continue
            place = {"family": family, "table": table, "older": True}
            if line.startswith(":"):
                name, policy = line[1:].split()[:2]
                chains.add(name)
                hook = {"hook": name.lower(), "policy": policy.lower()} if name in _HOOKS else {}
                yield {"chain": {**place, "name": name, **hook}}
            elif line.startswith("-A "):
                _, name, *words = shlex.split(line)
                yield {"rule": {**place, "chain": name, "expr": [*_expressions(words, chains)]}}


def _expressions(words: list[str], chains: set[str]) -> Iterator[dict[str, Any]]:
    """Of one rule; what is asked by an option that is not known here is ``xt``."""
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
            yield _match(word, " ".join(values), op)
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
    return {"xt": None}


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
