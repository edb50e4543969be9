"""systemd-networkd: three files of ours before the operator's, which stay as they are.

Of the files that match a device the first by name counts; ours begin with ``00-``. While it is
tried they are in /run, so that a machine that is switched off and on has its own again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Command, Handover, Told, note, renamed, text_if_any

RUNTIME, LASTING = "run/systemd/network", "etc/systemd/network"
RELOAD: tuple[Command, ...] = (("networkctl", "reload"),)
STATE, LEASES = "run/systemd/netif/links", "run/systemd/netif/leases"

Section = tuple[str, list[str]]

_STACKED = ("VLAN", "MACVLAN", "MACVTAP", "IPVLAN", "IPVTAP", "VXLAN", "BatmanAdvanced", "Xfrm")
"""Keys of devices that stand on the NIC, and go on to."""
_TO_OTHERS = ("Bridge", "Bond", "VRF", *_STACKED)
_ONLINE = ("RequiredForOnline", "RequiredFamilyForOnline")
_DEVICES = ("IncomingInterface", "OutgoingInterface")


class Networkd:
    name = "systemd-networkd"
    runs_clients = False

    def trial(self, wanted: Handover, root: Path) -> Told:
        """It takes over what is there already, and asks DHCP as the same client."""
        return Told(files(wanted, root, root / RUNTIME), RELOAD, RELOAD)

    def lasting(self, wanted: Handover, root: Path) -> Told:
        for_now: dict[Path, str | None] = dict.fromkeys(files(wanted, root, root / RUNTIME))
        return Told({**files(wanted, root, root / LASTING), **for_now}, RELOAD, RELOAD)


def running(root: Path) -> bool:
    """Whether it has links, as it has from its first moment on; the folder stays without it."""
    return any((root / STATE).glob("*"))


def left_alone(names: Sequence[str], root: Path) -> tuple[Path, str]:
    """A file for devices that a pattern of the operator's may fit, and what is in it."""
    text = f"# A wire of onestack's.\n[Match]\nName={' '.join(names)}\n\n[Link]\nUnmanaged=yes\n"
    return root / LASTING / f"00-onestack-{names[0]}.network", text


def files(wanted: Handover, root: Path, folder: Path) -> dict[Path, str | None]:
    text = current(wanted, root)
    known = identities(wanted, root)
    stem = f"00-onestack-{wanted.bridge}"
    return {
        folder / f"{stem}.netdev": netdev(wanted),
        folder / f"{stem}.network": for_bridge(text, wanted, known),
        folder / f"00-onestack-{wanted.nic}.network": for_nic(text, wanted),
    }


def current(wanted: Handover, root: Path) -> str:
    """What it configures the NIC by, with drop-ins. Raises `OnestackError`."""
    state = dict(
        line.split("=", 1)
        for line in text_if_any(root / STATE / str(wanted.index)).splitlines()
        if "=" in line
    )
    named = [state.get("NETWORK_FILE", ""), *shlex.split(state.get("NETWORK_FILE_DROPINS", ""))]
    texts = [text_if_any(root / name.strip('"').lstrip("/")) for name in named if name]
    if not texts or not texts[0]:
        raise OnestackError(
            f"systemd-networkd does not say what it configures {wanted.nic} by",
            f"{root / STATE / str(wanted.index)} names no file that can be read",
            f"look at it: networkctl status {wanted.nic}",
        )
    return "\n".join(texts)


def netdev(wanted: Handover) -> str:
    return f"""{note(wanted)}[NetDev]
Name={wanted.bridge}
Kind=bridge
MACAddress={wanted.mac}
MTUBytes={wanted.mtu}

[Bridge]
STP=no
ForwardDelaySec=0
MulticastSnooping=no
"""


def for_bridge(text: str, wanted: Handover, known: Mapping[str, int]) -> str:
    """All that is about addresses, with the name of the bridge."""
    made = [f"{note(wanted)}[Match]", f"Name={wanted.bridge}", ""]
    for name, lines in sections(text):
        if name == "Match":
            continue
        kept = [line for line in lines if _key(line) not in _TO_OTHERS]
        if name == "Link":
            kept = [line for line in kept if _key(line) in _ONLINE]
        kept = [
            renamed(line, wanted.nic, wanted.bridge) if _key(line) in _DEVICES else line
            for line in kept
        ]
        if any(kept):
            made += [f"[{name}]", *kept, ""]
    for section, identity in known.items():
        if not _says(text, section, "IAID"):
            made += [f"[{section}]", f"IAID={identity}", ""]
    return "\n".join(made)


def for_nic(text: str, wanted: Handover) -> str:
    """What is about the NIC itself, and that it is a port."""
    parts = list(sections(text))
    link = [line for name, lines in parts if name == "Link" for line in lines if line]
    link = [line for line in link if _key(line) not in _ONLINE]
    stacked = [
        line
        for name, lines in parts
        if name == "Network"
        for line in lines
        if _key(line) in _STACKED
    ]
    return "\n".join(
        [
            f"{note(wanted)}[Match]",
            f"Name={wanted.nic}",
            "",
            "[Link]",
            *link,
            "RequiredForOnline=no",
            "",
            "[Network]",
            f"Bridge={wanted.bridge}",
            *stacked,
            "DHCP=no",
            "LinkLocalAddressing=no",
            "IPv6AcceptRA=no",
            "",
        ]
    )


def sections(text: str) -> Iterator[Section]:
    """Name and lines, comments left out, in order; a name may come again."""
    name, lines = "", list[str]()
    for raw in text.splitlines():
        line = raw.strip()
        if heading := re.fullmatch(r"\[(.+)\]", line):
            if name:
                yield name, lines
            name, lines = heading[1], []
        elif line and line[0] not in "#;":
            lines.append(line)
    if name:
        yield name, lines


def identities(wanted: Handover, root: Path) -> dict[str, int]:
    """Which of a machine's clients it is to DHCP servers (RFC 4361): section to number.

    From the device's name it would make another client of itself, with another address.
    """
    lease = text_if_any(root / LEASES / str(wanted.index))
    state = text_if_any(root / STATE / str(wanted.index))
    four = re.search(r"^CLIENTID=ff([0-9a-f]{8})", lease, re.MULTILINE | re.IGNORECASE)
    six = re.search(r"^DHCP6_CLIENT_IAID=0x([0-9a-f]+)$", state, re.MULTILINE | re.IGNORECASE)
    found = {"DHCPv4": four or six, "DHCPv6": six or four}
    return {section: int(each[1], 16) for section, each in found.items() if each}


def _says(text: str, section: str, key: str) -> bool:
    return any(
        _key(line) == key for name, lines in sections(text) if name == section for line in lines
    )


def _key(line: str) -> str:
    return line.partition("=")[0].strip()
