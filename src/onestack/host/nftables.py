"""Tables of packet filters of the cloud's own, noted before they are made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from onestack.host import iptables, netns
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError

TABLE = "nftables table"
FAMILIES = ("inet", "arp")
"""In which a table of ours may be, under one name."""
SHELL = r"""
has_arp() {
    # a kernel may have nftables without (CONFIG_NF_TABLES_ARP)
    case $(LC_ALL=C nft -c add table arp onestack 2>&1) in *" supported"*) return 1 ;; esac
}

rules_of() {
    # the last table of such a file is ARP's
    if has_arp; then cat "$1"; else sed '/^table arp /,$d' "$1"; fi
}
"""
"""For keepers that load a file of tables of ours."""


def ensure_noted(cloud: Cloud, name: str) -> Iterator[Change]:
    """An entry for the table ``NAME``, which a process of the cloud makes."""
    ledger, data = Ledger.of(cloud), _entry(cloud, name)
    if not any(entry.kind == TABLE and entry.data == data for entry in ledger.entries()):
        yield Change(f"note the {TABLE} {name}", lambda: ledger.record(TABLE, **data))


def forget(cloud: Cloud, name: str) -> Iterator[Change]:
    """No such table any more, and no entry."""
    ledger, data = Ledger.of(cloud), _entry(cloud, name)
    if any(entry.kind == TABLE and entry.data == data for entry in ledger.entries()):

        def remove() -> None:
            undo_table(data)
            ledger.forget(TABLE, **data)

        yield Change(f"remove the {TABLE} {name}", remove)


def _entry(cloud: Cloud, name: str) -> dict[str, Any]:
    return {"name": name, "netns": cloud.netns}


def naming(ruleset: Mapping[str, Any], device: str) -> Iterator[str]:
    """The chain of each rule about what comes by ``device`` or goes there, for people.

    And each set or map that has it. (A device is named in sets and maps of a rule's own, together
    with ports, and by the beginning of its name, too.)
    """
    for part in ruleset["nftables"]:
        for kind, in_it, name in (
            ("rule", "expr", "chain"),
            ("set", "elem", "name"),
            ("map", "elem", "name"),
        ):
            if kind in part and _names(part[kind].get(in_it), device):
                each = part[kind]
                yield f"{each[name]} of the table {each['family']} {each['table']}"


_NO_DEVICE = ("log", "comment", "jump", "goto")


def _names(value: Any, device: str) -> bool:
    if isinstance(value, dict):
        return any(_names(each, device) for key, each in value.items() if key not in _NO_DEVICE)
    if isinstance(value, list):
        return any(_names(each, device) for each in value)
    if isinstance(value, str) and value.endswith("*") and not value.endswith(r"\*"):
        return device.startswith(value[:-1])
    return bool(value == device)


def families(namespace: str | None = None) -> tuple[str, ...]:
    """Those of `FAMILIES` that this kernel has."""
    with contextlib.suppress(OnestackError, OSError), netns.inside(namespace):
        tried = run(["nft", "-c", "add", "table", "arp", "onestack"], check=False, timeout=20)
        if " supported" in tried.err:
            return ("inet",)
    return FAMILIES


def missing(ruleset: Mapping[str, Any], name: str, families: Iterable[str] = FAMILIES) -> list[str]:
    """Tables ``NAME`` that are not there, of one in each of ``families``, for people.

    None where nobody could say.
    """
    parts = ruleset["nftables"]
    if not any("metainfo" in part for part in parts):
        return []
    there = {(part["table"]["family"], part["table"]["name"]) for part in parts if "table" in part}
    return [f"table {family} {name}" for family in families if (family, name) not in there]


def gone(ruleset: Mapping[str, Any], name: str, namespace: str | None) -> str:
    """Why tables ``NAME`` are not what they are to be, in the namespace that has the rules.

    Nothing where all are there, or nobody could say. What this kernel has is asked only then.
    """
    lacking = missing(ruleset, name) and missing(ruleset, name, families(namespace))
    if not lacking:
        return ""
    named = ", ".join(lacking)
    return f"gone from the packet filter: {named}; other rules were loaded in the place of all"


def elements(ruleset: Mapping[str, Any], table: str, name: str) -> dict[str, set[str]]:
    """Family to what the set ``name`` of the table has."""
    sets = (part["set"] for part in ruleset["nftables"] if "set" in part)
    return {
        each["family"]: set(each.get("elem", ()))
        for each in sets
        if (each["table"], each["name"]) == (table, name)
    }


def ruleset(namespace: str | None = None) -> Mapping[str, Any]:
    """All rules of the machine's network, or of a namespace's; those of the older filter too.

    None where there is no such namespace, and of a filter that nobody here can ask.
    """
    found: list[Mapping[str, Any]] = []
    if namespace and not netns.exists(namespace):
        return {"nftables": found}
    with contextlib.suppress(OSError), netns.inside(namespace):
        with contextlib.suppress(OnestackError):
            found += iptables.explained(listed()["nftables"])
        with contextlib.suppress(OnestackError):
            found += iptables.parts(iptables.saved())
    return {"nftables": found}


def listed() -> Mapping[str, Any]:
    """All rules of the calling thread's network. Raises `OnestackError` where nft cannot say."""
    said = run(["nft", "-j", "list", "ruleset"], timeout=20).out
    try:
        found: Mapping[str, Any] = json.loads(said)
        return {"nftables": [part for part in found["nftables"] if isinstance(part, Mapping)]}
    except (ValueError, KeyError, TypeError) as error:
        raise OnestackError(
            "nft -j list ruleset said nothing that can be read", str(error)
        ) from error


def undo_table(data: dict[str, Any]) -> None:
    """With its namespace it went too; not there is well."""
    if not data.get("netns") or netns.exists(data["netns"]):
        with netns.inside(data.get("netns")):
            for family in FAMILIES:
                run(["nft", "delete", "table", family, data["name"]], check=False, timeout=20)


def unload(name: str) -> tuple[str, ...]:
    """A command for after the end of the process that loaded the table."""
    gone = "; ".join(f"nft delete table {family} {name} 2>/dev/null || :" for family in FAMILIES)
    return ("/bin/sh", "-c", gone)


UNDO: Mapping[str, Undo] = {TABLE: undo_table}
