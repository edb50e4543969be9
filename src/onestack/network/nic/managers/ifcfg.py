"""RHEL's network-scripts, and NetworkManager where it reads their files."""

from __future__ import annotations

import re
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Command, Handover, Told, note, renamed

FOLDER = "etc/sysconfig/network-scripts"
BESIDE = ("route", "route6", "rule", "rule6")
"""Files about the same device: ``route-eno1``."""
_NICS = (
    *("TYPE", "DEVICE", "NAME", "UUID", "HWADDR", "MACADDR", "MASTER", "MASTER_UUID", "SLAVE"),
    *("VLAN", "VLAN_ID", "PHYSDEV", "REORDER_HDR", "ETHTOOL_OPTS", "SUBCHANNELS", "NETTYPE"),
)
"""Keys that stay with the NIC; ``BONDING_…`` do too."""
_BOTH = ("ONBOOT", "NM_CONTROLLED", "MTU", "USERCTL", "HOTPLUG")


class Ifcfg:
    name = "network-scripts"
    runs_clients = True

    def trial(self, wanted: Handover, root: Path) -> Told:
        return Told()

    def lasting(self, wanted: Handover, root: Path) -> Told:
        folder = root / FOLDER
        path = place(folder, wanted)
        nic, bridge = split(path.read_text(), wanted)
        files: dict[Path, str | None] = {path: nic, folder / f"ifcfg-{wanted.bridge}": bridge}
        for kind in BESIDE:
            beside = folder / f"{kind}-{wanted.nic}"
            if beside.is_file():
                text = beside.read_text()
                files[folder / f"{kind}-{wanted.bridge}"] = renamed(text, wanted.nic, wanted.bridge)
                files[beside] = None
        return Told(files, _reload(root), _reload(root))


def _reload(root: Path) -> tuple[Command, ...]:
    """NetworkManager may be there too, and reads the same files."""
    running = (root / "run/NetworkManager/NetworkManager.pid").exists()
    return (("nmcli", "connection", "reload"),) if running else ()


def place(folder: Path, wanted: Handover) -> Path:
    """The file of the NIC, by its name or by what it says. Raises `OnestackError`."""
    named = folder / f"ifcfg-{wanted.nic}"
    if named.is_file():
        return named
    for path in sorted(folder.glob("ifcfg-*")):
        if values(path.read_text()).get("DEVICE") == wanted.nic:
            return path
    raise OnestackError(
        f"no file in {folder} configures {wanted.nic}",
        "neither by its name nor by DEVICE=",
        "say what configures it, and set it there by hand",
    )


def values(text: str) -> dict[str, str]:
    found = re.findall(r"^\s*(\w+)=(.*)$", text, re.MULTILINE)
    return {key: value.strip().strip("\"'") for key, value in found}


def split(text: str, wanted: Handover) -> tuple[str, str]:
    """The texts for the NIC and for the bridge."""
    nic, bridge = [], [f"DEVICE={wanted.bridge}", f"NAME={wanted.bridge}", "TYPE=Bridge"]
    bridge += ["STP=off", "DELAY=0", f"MACADDR={wanted.mac}"]
    for line in text.splitlines():
        key = line.partition("=")[0].strip()
        if not key or key.startswith("#"):
            nic.append(line)
            continue
        if key in _NICS or key.startswith("BONDING_"):
            nic.append(line)
        elif key in _BOTH:
            nic.append(line)
            bridge.append(line.strip())
        else:
            bridge.append(line.strip())
    nic += ["BOOTPROTO=none", f"BRIDGE={wanted.bridge}"]
    return note(wanted) + "\n".join(nic) + "\n", note(wanted) + "\n".join(bridge) + "\n"
