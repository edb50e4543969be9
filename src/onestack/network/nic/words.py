"""What ``ip -json`` says of a thing, as the words that make it: for another device too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onestack.model.errors import OnestackError
from onestack.network.nic.facts import Entry

FOREVER = 4294967295


class NotKnown(OnestackError):
    """Something hangs on the NIC that cannot be moved as it is."""


def address(entry: Entry, device: str, verb: str) -> str:
    """``verb`` is ``replace`` or ``delete``."""
    text = f"{entry['local']}"
    if "address" in entry:
        text += f" peer {entry['address']}"
    words = [f"address {verb} {text}/{entry['prefixlen']} dev {device}"]
    if verb == "delete":
        return words[0]
    if "broadcast" in entry:
        words.append(f"broadcast {entry['broadcast']}")
    words.append(f"scope {entry.get('scope', 'global')}")
    if "metric" in entry:
        words.append(f"metric {entry['metric']}")
    valid, preferred = int(entry["valid_life_time"]), int(entry["preferred_life_time"])
    if valid != FOREVER:
        words.append(f"valid_lft {valid}")
    if preferred != FOREVER:
        words.append(f"preferred_lft {preferred}")
    if entry.get("noprefixroute"):
        words.append("noprefixroute")
    if entry["family"] == "inet6":
        # It has been in use on this wire: nobody else can have it.
        words += ["nodad", *(["mngtmpaddr"] if entry.get("mngtmpaddr") else [])]
    elif ":" in str(entry.get("label", "")):
        words.append(f"label {label(entry['label'], device)}")
    return " ".join(words)


def label(text: str, device: str) -> str:
    """``eno1:1`` as a label of ``device``, as far as 15 bytes reach."""
    return f"{device}:{text.partition(':')[2]}"[:15]


_ROUTE = {
    *("type", "dst", "gateway", "via", "dev", "table", "protocol", "scope", "prefsrc", "metric"),
    *("flags", "metrics", "expires", "pref", "nexthops", "family", "tos", "weight"),
}
_HARMLESS = {"linkdown", "dead", "offload", "trap", "rt_offload", "rt_trap", "notify", "pervasive"}


def route(entry: Entry, source: str, target: str) -> str:
    """With ``replace``; hops by ``source`` go by ``target``. Raises `NotKnown`."""
    if strange := sorted(entry.keys() - _ROUTE):
        raise NotKnown(
            f"the route {shown(entry)} cannot be moved",
            f"it has {', '.join(strange)}, which is not known here",
            "move it by hand to a device that stays as it is, or take it away for the while",
        )
    words = [f"-{entry['family']} route replace"]
    words += [entry["type"]] if entry.get("type", "unicast") != "unicast" else []
    words.append(str(entry["dst"]))
    words += [f"tos {entry['tos']}"] if entry.get("tos") else []
    words.append(f"table {entry.get('table', 'main')}")
    if "nexthops" not in entry:
        words.append(_hop(entry, source, target))
    for name, word in (("protocol", "proto"), ("scope", "scope"), ("prefsrc", "src")):
        # A scope means nothing to IPv6.
        if name in entry and not (name == "scope" and entry["family"] == 6):
            words.append(f"{word} {entry[name]}")
    for name, word in (("metric", "metric"), ("pref", "pref")):
        if name in entry:
            words.append(f"{word} {entry[name]}")
    if "expires" in entry:
        words.append(f"expires {entry['expires']}")
    for metric in entry.get("metrics", ()):
        words += [f"{name} {value}" for name, value in _metrics(metric, entry)]
    for hop in entry.get("nexthops", ()):
        words.append(f"nexthop {_hop(hop, source, target)} weight {hop.get('weight', 1)}")
    return " ".join(words)


def _hop(entry: Entry, source: str, target: str) -> str:
    words = []
    if "gateway" in entry:
        words.append(f"via {entry['gateway']}")
    elif "via" in entry:
        words.append(f"via {entry['via']['family']} {entry['via']['host']}")
    device = entry.get("dev", source)
    words.append(f"dev {target if device == source else device}")
    flags = set(entry.get("flags", ())) - _HARMLESS
    if flags - {"onlink"}:
        raise NotKnown(
            f"the route {shown(entry)} cannot be moved", f"it has the flags {', '.join(flags)}"
        )
    return " ".join([*words, *sorted(flags)])


def _metrics(metric: Mapping[str, Any], entry: Entry) -> Iterator[tuple[str, Any]]:
    known = ("mtu", "advmss", "window", "rtt", "hoplimit", "initcwnd", "initrwnd", "quickack")
    for name, value in metric.items():
        if name not in known:
            raise NotKnown(
                f"the route {shown(entry)} cannot be moved", f"it has {name}, not known here"
            )
        yield name, value


_RULE = {
    *("priority", "src", "srclen", "dst", "dstlen", "iif", "oif", "table", "protocol", "family"),
    *("fwmark", "fwmask", "tos", "not", "suppress_prefixlen", "suppress_ifgroup"),
}
_FIXED = ("iif_detached", "oif_detached")


def rule(entry: Entry, verb: str, source: str, target: str) -> str:
    """``verb`` is ``add`` or ``delete``; of ``source`` becomes of ``target``. Raises `NotKnown`."""
    if strange := sorted(entry.keys() - _RULE - set(_FIXED)):
        raise NotKnown(
            f"the rule {entry['priority']} cannot be moved",
            f"it has {', '.join(strange)}, which is not known here",
            f"look at it: ip -{entry['family']} rule",
        )
    words = [f"-{entry['family']} rule {verb} priority {entry['priority']}"]
    words += ["not"] if "not" in entry else []
    words += _selector(entry)
    for name in ("iif", "oif"):
        if name in entry:
            words.append(f"{name} {target if entry[name] == source else entry[name]}")
    for name, word in (("table", "lookup"), ("suppress_prefixlen", "suppress_prefixlength")):
        if name in entry:
            words.append(f"{word} {entry[name]}")
    if entry.get("protocol", "unspec") not in ("unspec", "boot"):
        words.append(f"protocol {entry['protocol']}")
    return " ".join(words)


def _selector(entry: Entry) -> Iterator[str]:
    for name, word in (("src", "from"), ("dst", "to")):
        if name in entry:
            length = f"/{entry[f'{name}len']}" if f"{name}len" in entry else ""
            yield f"{word} {entry[name]}{length}"
    if "fwmark" in entry:
        yield f"fwmark {entry['fwmark']}/{entry.get('fwmask', '0xffffffff')}"
    if "tos" in entry:
        yield f"tos {entry['tos']}"


def neighbour(entry: Entry, device: str) -> str | None:
    """One that was found out is asked again when it is next needed; ``None`` where none was."""
    states = entry.get("state", [])
    if "lladdr" not in entry or not states:
        return None
    state = "permanent" if "PERMANENT" in states else "stale"
    return f"neigh replace {entry['dst']} lladdr {entry['lladdr']} dev {device} nud {state}"


def shown(entry: Entry) -> str:
    way = f" via {entry['gateway']}" if "gateway" in entry else ""
    return f"{entry.get('dst', '')}{way}"
