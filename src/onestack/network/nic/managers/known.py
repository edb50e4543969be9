"""Which manager has a NIC."""

from __future__ import annotations

import re
from pathlib import Path

from onestack.network.nic.managers import ifcfg
from onestack.network.nic.managers.ifcfg import Ifcfg
from onestack.network.nic.managers.ifupdown import Ifupdown, blocks, places
from onestack.network.nic.managers.netplan import Netplan
from onestack.network.nic.managers.networkd import STATE, Networkd
from onestack.network.nic.managers.networkmanager import (
    RUNTIME,
    NetworkManager,
    in_use,
    keyfile,
)
from onestack.network.nic.managers.told import Handover, Manager, Told, text_if_any, text_of


class Nobody:
    """Nothing on this machine configures the NIC: the cloud's next `up` moves it again."""

    name = ""
    runs_clients = True

    def trial(self, wanted: Handover, root: Path) -> Told:
        return Told()

    def lasting(self, wanted: Handover, root: Path) -> Told:
        return Told()


MANAGERS: dict[str, Manager] = {
    manager.name: manager
    for manager in (Netplan(), NetworkManager(), Networkd(), Ifupdown(), Ifcfg(), Nobody())
}


def manager_of(nic: str, index: int, root: Path) -> Manager:
    """netplan has another one work for it, so it comes first."""
    networkd = text_if_any(root / STATE / str(index))
    used = re.search(r"^NETWORK_FILE=(\S+)$", networkd, re.MULTILINE)
    managed = bool(in_use(index, root))
    if (used and "/10-netplan-" in used[1]) or (managed and _of_netplan(nic, index, root)):
        return MANAGERS["netplan"]
    if managed:
        return MANAGERS["NetworkManager"]
    if used and "ADMIN_STATE=unmanaged" not in networkd:
        return MANAGERS["systemd-networkd"]
    if any(_stanza(text_of(path), nic) for path in places(root)):
        return MANAGERS["ifupdown"]
    if ifcfg.configured(nic, root):
        return MANAGERS["network-scripts"]
    return MANAGERS[""]


def _of_netplan(nic: str, index: int, root: Path) -> bool:
    found = keyfile(nic, in_use(index, root), root)
    return bool(found) and str(found).startswith(f"{root / RUNTIME}/netplan-")


def _stanza(text: str, nic: str) -> bool:
    """One that configures it; ``manual`` leaves it to others."""
    stanzas = [block.words for block in blocks(text) if block.words[:2] == ["iface", nic]]
    return any(words[-1] != "manual" for words in stanzas)
