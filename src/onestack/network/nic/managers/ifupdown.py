"""ifupdown: the NIC's stanzas become the bridge's, where they stand, and the NIC's are manual.

The bridge is made by ip(8) in lines of the stanza, so that no other package is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Handover, Told, renamed

MAIN = "etc/network/interfaces"
_STARTS = ("auto", "allow-", "no-auto-down", "no-scripts")
_STANZAS = (*_STARTS, "iface", "mapping", "source", "source-directory", "rename", "template")
STATE = "run/network/ifstate"
MARK = "# onestack:"


class Ifupdown:
    name = "ifupdown"
    runs_clients = True

    def trial(self, wanted: Handover, root: Path) -> Told:
        """It is asked only at boot and by ifup."""
        return Told()

    def lasting(self, wanted: Handover, root: Path) -> Told:
        texts = {path: path.read_text() for path in places(root)}
        edited = {path: edit(text, wanted) for path, text in texts.items()}
        changed: dict[Path, str | None] = {p: t for p, t in edited.items() if t != texts[p]}
        if not any(MARK in (text or "") for text in changed.values()):
            raise OnestackError(
                f"{wanted.nic} is not in {root / MAIN}",
                "no stanza configures it there, nor in what it sources",
                "say what configures it, and set it there by hand",
            )
        state = root / STATE
        if state.is_file():
            # What it believes is up: for ifdown until the next boot.
            known = state.read_text()
            changed[state] = known + f"{wanted.bridge}={wanted.bridge}\n"
        return Told(changed)


def places(root: Path) -> list[Path]:
    """The file, and what it sources, as far as it is there."""
    found: list[Path] = []
    todo = [root / MAIN]
    while todo:
        path = todo.pop(0)
        if path in found or not path.is_file():
            continue
        found.append(path)
        for line in logical(path.read_text()):
            words = line.split()
            if len(words) < 2 or words[0] not in ("source", "source-directory"):
                continue
            pattern = words[1] if words[1].startswith("/") else f"/etc/network/{words[1]}"
            pattern += "/*" if words[0] == "source-directory" else ""
            todo += sorted(root.glob(pattern.lstrip("/")))
    return found


def logical(text: str) -> Iterator[str]:
    """Lines as ifupdown reads them: joined where one ends with a backslash."""
    yield from re.sub(r"\\\n", " ", text).splitlines()


def edit(text: str, wanted: Handover) -> str:
    """The stanzas of ``wanted.nic`` and of its aliases, with the name of the bridge."""
    made, inside, told = [], False, False
    for line in text.splitlines():
        words = line.split()
        first = words[0] if words else ""
        if first in _STANZAS or first.startswith("allow-"):
            inside = first == "iface" and len(words) > 1 and _is_of(words[1], wanted.nic)
            if inside or first == "auto" or first.startswith("allow-"):
                line = _name(line, wanted)
        elif inside:
            line = renamed(line, wanted.nic, wanted.bridge)
        made.append(line)
        if inside and first == "iface" and not told and words[1] == wanted.nic:
            told = True
            made += _lines(wanted)
    if told:
        made += ["", f"iface {wanted.nic} inet manual"]
    return "\n".join(made) + ("\n" if text.endswith("\n") or told else "")


def _lines(wanted: Handover) -> list[str]:
    nic, bridge = wanted.nic, wanted.bridge
    add = f"address {wanted.mac} mtu {wanted.mtu} type bridge"
    return [
        f"    {MARK} {bridge} has the place of {nic}, for the cloud's networks",
        f"    pre-up ip link show dev {bridge} >/dev/null 2>&1 || ip link add {bridge} {add} "
        "stp_state 0 forward_delay 0 mcast_snooping 0",
        f"    pre-up ip link set dev {nic} mtu {wanted.mtu} up master {bridge}",
        f"    post-down ip link set dev {nic} nomaster || true",
        f"    post-down ip link delete dev {bridge} || true",
    ]


def _is_of(name: str, nic: str) -> bool:
    return name == nic or name.startswith(f"{nic}:")


def _name(line: str, wanted: Handover) -> str:
    """``eno1`` and ``eno1:1`` become the bridge's. What waits for a plug waits for the boot."""
    return re.sub(
        rf"(?<![\w.@-]){re.escape(wanted.nic)}(?=[\s:]|$)", wanted.bridge, _started(line, wanted)
    )


def _started(line: str, wanted: Handover) -> str:
    """A bridge is no hot-plugged device: ``auto`` starts it."""
    words = line.split()
    if words[0] == "allow-hotplug" and len(words) == 2 and _is_of(words[1], wanted.nic):
        return line.replace("allow-hotplug", "auto", 1)
    return line
