"""Whether a NIC can become the cloud's wire, and how; with the reason where it cannot."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from onestack.model.findings import Finding, refuse
from onestack.network.nic.facts import Entry, Facts


class Way(enum.Enum):
    DIRECT = "direct"  # nothing of the machine's hangs on it: into the switch's bridge itself
    MOVE = "move"  # it has addresses or routes, which go to a bridge of the machine's own
    SWITCHED = "switched"  # it is a port of an Open vSwitch in the kernel
    BRIDGED = "bridged"  # it is in such a bridge already, ours or the operator's


@dataclass(frozen=True)
class Fit:
    way: Way
    bridge: str = ""
    """The bridge of the kernel's that it is in."""


_TAKES_ALL = ("macvlan", "macvtap", "ipvlan", "ipvtap")
_NO_WIRE = {
    "tun": "it belongs to the program that made it",
    "wireguard": "it carries no Ethernet frames",
    "dummy": "there is no wire at it",
    "ifb": "there is no wire at it",
    "vrf": "it is a routing table",
}


def judge(facts: Facts, nic: str, wireless: bool = False) -> Fit | Finding:
    """How ``nic`` is attached, or why it is not."""
    link = facts.link(nic)
    if link is None:
        known = [each["ifname"] for each in facts.links if each.get("link_type") == "ether"]
        return refuse(
            f"there is no network device {nic} here",
            f"those that are there: {', '.join(known) or 'none'}",
            "look at them: ip -br link",
        )
    if kind(link) == "bridge":
        return Fit(Way.BRIDGED, nic)
    return _unfit(link, wireless) or _in_use(facts, link) or _place(facts, link)


def _unfit(link: Entry, wireless: bool) -> Finding | None:
    nic, what = link["ifname"], kind(link)
    if wireless:
        return refuse(
            f"{nic} cannot be in a bridge",
            "a wireless access point takes frames only from the address that logged in to it",
            "use a NIC with a cable",
        )
    why = _NO_WIRE.get(what) or ("" if link.get("link_type") == "ether" else "it is no Ethernet")
    if why or what in _TAKES_ALL:
        return refuse(
            f"{nic} cannot be in a bridge",
            why or f"it is a {what} device, which hears only frames to its own address",
            "name the NIC that has the wire: ip -br link",
        )
    if what == "bond" and _data(link).get("mode") in ("balance-alb", "balance-tlb"):
        return refuse(
            f"{nic} cannot be in a bridge",
            f"its mode {_data(link)['mode']} sends frames under other addresses than the guests'",
            "give the bond the mode active-backup or 802.3ad",
        )
    return None


def _in_use(facts: Facts, link: Entry) -> Finding | None:
    nic = link["ifname"]
    for other in facts.links:
        if other.get("link") == nic and kind(other) in _TAKES_ALL:
            return refuse(
                f"{nic} cannot be in a bridge",
                f"{other['ifname']}, a {kind(other)} device, is on it, and the kernel lets only "
                "one of the two have its frames",
                f"put {other['ifname']} onto the bridge afterwards, or delete it: "
                f"ip link delete {other['ifname']}",
            )
    return None


def _place(facts: Facts, link: Entry) -> Fit | Finding:
    nic, master = link["ifname"], link.get("master", "")
    if not master:
        return Fit(Way.MOVE if facts.device(nic).needed else Way.DIRECT)
    role = link.get("linkinfo", {}).get("info_slave_kind", "")
    if role == "bridge":
        return Fit(Way.BRIDGED, master)
    if role == "openvswitch":
        return Fit(Way.SWITCHED)
    return refuse(
        f"{nic} is a part of {master} ({role or 'of what kind is not known'})",
        "its frames belong to that device",
        f"attach that one: onestack nic attach {master}",
    )


def kind(link: Entry) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _data(link: Entry) -> Entry:
    return dict(link.get("linkinfo", {}).get("info_data", {}))


def is_wireless(nic: str, root: Path = Path("/sys/class/net")) -> bool:
    return (root / nic / "wireless").exists() or (root / nic / "phy80211").exists()
