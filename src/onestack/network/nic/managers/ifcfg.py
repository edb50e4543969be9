"""RHEL's network-scripts, where NetworkManager leaves a NIC to them.

Power may go between two files. So the bridge's file, which is written first, starts nothing
until the NIC's file names the bridge: the scripts read both as a shell does.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import (
    Command,
    Handover,
    Told,
    note,
    renamed,
    text_if_any,
    text_of,
    without_cloud_init,
)

FOLDER = "etc/sysconfig/network-scripts"
COMMON = "etc/sysconfig/network"
BESIDE = ("route", "route6", "rule", "rule6")
"""Files about the same device: ``route-eno1``."""
_NICS = re.compile(
    r"(TYPE|DEVICE|DEVICETYPE|NAME|UUID|HWADDR|MACADDR|MASTER|MASTER_UUID|SLAVE|VLAN|VID|PHYSDEV|REORDER_HDR"
    r"|GVRP|MVRP|SUBCHANNELS|NETTYPE|PORTNAME|CTCPROT|DCB|KEY_MGMT"
    r"|(BONDING|IEEE_8021X|ETHTOOL|DCB|TEAM|VLAN|WPA)_\w+|DEVTIMEOUT)$"
)
"""Keys that stay with the NIC."""
_BOTH = ("ONBOOT", "NM_CONTROLLED", "MTU", "USERCTL", "HOTPLUG", "LINKDELAY")
_ASIDE = re.compile(r"(~|\.bak|\.old|\.orig|\.rpm\w+)$")
"""Files that the scripts pass over."""
LENGTH = 15


class Ifcfg:
    name = "network-scripts"
    runs_clients = True

    def trial(self, wanted: Handover, root: Path) -> Told:
        """They are asked only at boot and by ifup."""
        return Told()

    def lasting(self, wanted: Handover, root: Path) -> Told:
        folder = root / FOLDER
        path = place(folder, wanted)
        _need_scripts(path, wanted, root)
        gateway = values(text_if_any(root / COMMON)).get("GATEWAYDEV") == wanted.nic
        nic, bridge = split(path, wanted, gateway)
        files: dict[Path, str | None] = {
            **without_cloud_init(wanted, root),
            folder / f"ifcfg-{wanted.bridge}": bridge,
        }
        gone = list[Path]()
        for old, new in beside(folder, path, wanted):
            if new in files:
                raise OnestackError(
                    f"{old} and another file would both become {new.name}",
                    "one of them would be lost",
                    "put them together into one file",
                )
            files[new] = renamed(text_of(old), wanted.nic, wanted.bridge)
            gone.append(old)
        modes = {new: stat.S_IMODE(path.stat().st_mode) for new in files if new.parent == folder}
        files |= {path: nic, **dict.fromkeys(gone)}
        return Told(files, _reload(root), _reload(root), modes)


def configured(nic: str, root: Path, uuid: str = "") -> bool:
    """Whether a file is about it, or is the connection ``uuid``."""
    paths = list((root / FOLDER).glob("ifcfg-*"))
    known = [values(text_if_any(path)).get("UUID", "").lower() for path in paths]
    return uuid.lower() in filter(None, known) or any(_is_of(path, nic) for path in paths)


def _is_of(path: Path, nic: str) -> bool:
    if _ASIDE.search(path.name):
        return False
    return path.name == f"ifcfg-{nic}" or values(text_if_any(path)).get("DEVICE") == nic


def _running(root: Path) -> bool:
    return (root / "run/NetworkManager/NetworkManager.pid").exists()


def _reload(root: Path) -> tuple[Command, ...]:
    """NetworkManager may be there too, and reads in the same files what is not its own."""
    return (("nmcli", "connection", "reload"),) if _running(root) else ()


def _need_scripts(path: Path, wanted: Handover, root: Path) -> None:
    """Not NetworkManager, which takes the same files otherwise. Raises `OnestackError`."""
    controlled = values(text_of(path)).get("NM_CONTROLLED", "yes").lower()
    if _running(root) and controlled not in ("no", "n", "false", "0"):
        raise OnestackError(
            f"NetworkManager runs, and {path} does not leave {wanted.nic} to the network-scripts",
            "it would go on with what it knows of the NIC",
            "have it keep a file of its own: nmcli connection migrate; "
            "or leave the NIC to the scripts, by NM_CONTROLLED=no",
        )


def place(folder: Path, wanted: Handover) -> Path:
    """The file of the NIC, by its name or by what it says. Raises `OnestackError`."""
    named = folder / f"ifcfg-{wanted.nic}"
    if named.is_file():
        return named
    for path in sorted(folder.glob("ifcfg-*")):
        if _is_of(path, wanted.nic):
            return path
    raise OnestackError(
        f"no file in {folder} configures {wanted.nic}",
        "neither by its name nor by DEVICE=",
        "say what configures it, and set it there by hand",
    )


def beside(folder: Path, path: Path, wanted: Handover) -> Iterator[tuple[Path, Path]]:
    """Files of its aliases, ranges, routes and rules, and what they become."""
    nic, bridge = wanted.nic, wanted.bridge
    for old in sorted([*folder.glob(f"ifcfg-{nic}:*"), *folder.glob(f"ifcfg-{nic}-range*")]):
        name = old.name.removeprefix(f"ifcfg-{nic}")
        if _ASIDE.search(name):
            continue
        if name.startswith(":") and len(bridge + name) > LENGTH:
            raise OnestackError(
                f"{old} would be the file of {bridge}{name}",
                "that is longer than names may be",
                "give the alias a shorter name, or put its address into the file of the NIC",
            )
        yield old, folder / f"ifcfg-{bridge}{name}"
    for kind in BESIDE:
        for name in dict.fromkeys((nic, path.name.removeprefix("ifcfg-"))):
            if (old := folder / f"{kind}-{name}").is_file():
                yield old, folder / f"{kind}-{bridge}"


def values(text: str) -> dict[str, str]:
    found = re.findall(r"^\s*(\w+)=(.*)$", text, re.MULTILINE)
    return {key: value.strip().strip("\"'") for key, value in found}


def split(path: Path, wanted: Handover, gateway: bool = False) -> tuple[str, str]:
    """The texts for the NIC and for the bridge. Raises `OnestackError`."""
    bridge = [f"DEVICE={wanted.bridge}", f"NAME={wanted.bridge}", "TYPE=Bridge"]
    bridge += ["STP=off", "DELAY=0", f"MACADDR={wanted.mac}"]
    bridge += [f"GATEWAYDEV={wanted.bridge}"] if gateway else []
    nic = []
    for line in text_of(path).splitlines():
        key = _key(line, path)
        if not key or _NICS.match(key) or key in _BOTH:
            nic.append(line)
        if key and not _NICS.match(key):
            bridge.append(renamed(line.strip(), wanted.nic, wanted.bridge))
    joins = f"BRIDGE={wanted.bridge}"
    nic += ["BOOTPROTO=none", joins]
    file = shlex.quote(f"/{FOLDER}/{path.name}")
    bridge += [
        f"# started once {wanted.nic} is its port",
        f"grep -qsx {joins} {file} || ONBOOT=no",
    ]
    return note(wanted) + "\n".join(nic) + "\n", note(wanted) + "\n".join(bridge) + "\n"


def _key(line: str, path: Path) -> str:
    """Nothing for a comment. Raises `OnestackError` for what is more than a setting."""
    if not line.strip() or line.lstrip().startswith("#"):
        return ""
    found = re.match(r"\s*(\w+)=", line)
    try:
        if found and shlex.split(line, comments=True):
            return found[1]
    except ValueError:
        pass
    raise OnestackError(
        f"{path} has a line that onestack does not know: {line.strip()}",
        "it is not a setting like KEY=VALUE",
        "write it as one, or set the bridge there by hand",
    )
