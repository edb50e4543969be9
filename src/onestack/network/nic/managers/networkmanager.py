"""NetworkManager: a connection for the bridge, and one that makes the NIC its port.

The operator's own connection stays as it is, but does not start by itself any more. While it
is tried the two are in /run, so that a machine that is switched off and on has its own again.
The bridge starts with its port only, so that it is the port's file that counts.
"""

from __future__ import annotations

import configparser
import io
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers import ifcfg
from onestack.network.nic.managers.told import (
    Command,
    Handover,
    Told,
    text_of,
    without_cloud_init,
)

RUNTIME = "run/NetworkManager/system-connections"
LASTING = "etc/NetworkManager/system-connections"
DEVICES = "run/NetworkManager/devices"
_FOLDERS = (LASTING, RUNTIME, "usr/lib/NetworkManager/system-connections")
_NICS = (
    *("ethernet", "802-3-ethernet", "bond", "vlan", "team", "802-1x", "dcb", "ethtool", "sriov"),
    *("link", "match", "tc"),
)
"""Sections that are about the NIC; all others go to the bridge."""
_CARRIED = ("zone", "metered", "llmnr", "mdns", "dns-over-tls", "secondaries")
"""What a connection says of itself that is not about the NIC."""
SECRET = 0o600
FIRST = 100
"""Priority over what NetworkManager would start by itself."""
_SPACE = uuid.UUID("5f3f0e9c-7d55-4d0b-9a70-4f4a5a2c1f10")


class NetworkManager:
    name = "NetworkManager"
    runs_clients = False

    def trial(self, wanted: Handover, root: Path) -> Told:
        text = current(wanted, root)[1]
        made = _files(wanted, root, RUNTIME, text)
        own = in_use(wanted.index, root)
        start = (*RELOAD, up("uuid", bridge_uuid(wanted)), up("uuid", port_uuid(wanted)))
        return Told(made, start, _again(wanted, text, own), dict.fromkeys(made, SECRET))

    def lasting(self, wanted: Handover, root: Path) -> Told:
        """The same connections at another place: they stay as active as they are."""
        path, text = current(wanted, root)
        own = in_use(wanted.index, root)
        made: dict[Path, str | None] = {
            **without_cloud_init(wanted, root),
            **_files(wanted, root, LASTING, text),
        }
        asleep = path if path.is_relative_to(root / LASTING) else root / LASTING / path.name
        if not _of_several(text):
            made[asleep] = without_start(text)
        made |= _parts(wanted, root / LASTING, own)
        made |= dict.fromkeys(_files(wanted, root, RUNTIME, text))
        return Told(made, RELOAD, _again(wanted, text, own), dict.fromkeys(made, SECRET))


RELOAD: tuple[Command, ...] = (("nmcli", "connection", "reload"),)


def up(*which: str) -> Command:
    return ("nmcli", "--wait", "30", "connection", "up", *which)


def _again(wanted: Handover, text: str, own: str) -> tuple[Command, ...]:
    which = ("ifname", wanted.nic) if _of_several(text) else ()
    return (*RELOAD, up("uuid", own, *which))


def _of_several(text: str) -> bool:
    """One that other NICs may have at the same time. (Ours comes before it by its priority.)"""
    return parse(text)["connection"].get("multi-connect") in ("2", "3")


def _connections(folder: Path) -> Iterator[Path]:
    """Files that NetworkManager reads: an editor's of its own are none."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and path.name[0] != "." and not path.name.endswith(_PASSED_OVER):
            yield path


_PASSED_OVER = ("~", ".swp", ".swpx", ".pem", ".der")


def asks_six(wanted: Handover, root: Path) -> bool:
    """Whether it has an address by DHCPv6."""
    known = _identity(_state(wanted.index, root))
    return any(section == "ipv6" for section, _, _ in known)


def _parts(wanted: Handover, folder: Path, own: str) -> dict[Path, str | None]:
    """NICs of a bond that name it by the operator's connection would start that one again."""
    found: dict[Path, str | None] = {}
    for path in _connections(folder):
        if own in (text := text_of(path)):
            made = re.sub(
                rf"^(master|controller)={re.escape(own)}$",
                rf"\1={port_uuid(wanted)}",
                text,
                flags=re.MULTILINE,
            )
            if made != text:
                found[path] = made
    return found


def _files(wanted: Handover, root: Path, folder: str, text: str) -> dict[Path, str | None]:
    state = _state(wanted.index, root)
    return {
        root / folder / f"onestack-{wanted.bridge}.nmconnection": for_bridge(text, wanted, state),
        root / folder / f"onestack-{wanted.nic}.nmconnection": for_nic(text, wanted),
    }


def bridge_uuid(wanted: Handover) -> str:
    return str(uuid.uuid5(_SPACE, f"bridge {wanted.bridge} {wanted.mac}"))


def port_uuid(wanted: Handover) -> str:
    return str(uuid.uuid5(_SPACE, f"port {wanted.nic} {wanted.mac}"))


def in_use(index: int, root: Path) -> str:
    """The uuid of the connection that a device has, or nothing."""
    said = _state(index, root)
    found = re.search(r"^connection-uuid=(\S+)$", said, re.MULTILINE)
    return found[1] if found and "managed=true" in said else ""


def _state(index: int, root: Path) -> str:
    """What it says of a device."""
    path = root / DEVICES / str(index)
    return path.read_text() if path.is_file() else ""


def _identity(state: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value by which a DHCP server takes it for the same client.

    Of the device's name or the connection's it would make another one, with another address.
    """
    if found := re.search(rf"^dhcp4\.dhcp_client_identifier=({_BYTES})$", state, re.MULTILINE):
        yield "ipv4", "dhcp-client-id", found[1]
    if found := re.search(rf"^dhcp6\.iaid=({_BYTES})$", state, re.MULTILINE):
        yield "ipv6", "dhcp-iaid", str(int(found[1].replace(":", ""), 16))
    if found := re.search(rf"^dhcp6\.dhcp6_client_id=({_BYTES})$", state, re.MULTILINE):
        yield "ipv6", "dhcp-duid", found[1]


_BYTES = "[0-9a-f]{2}(?::[0-9a-f]{2})+"


def current(wanted: Handover, root: Path) -> tuple[Path, str]:
    """The connection that the NIC has, and where it is kept. Raises `OnestackError`."""
    used = in_use(wanted.index, root)
    if used and (found := keyfile(wanted.nic, used, root)):
        return found, text_of(found)
    if used and ifcfg.configured(wanted.nic, root, used):
        raise OnestackError(
            f"NetworkManager keeps the connection of {wanted.nic} in {root / ifcfg.FOLDER}",
            "there it takes nothing that is only tried, so that there would be no way back",
            "have it keep the same as a file of its own kind, then run this command again: "
            f"nmcli connection migrate {used}",
        )
    raise OnestackError(
        f"NetworkManager has no file for the connection of {wanted.nic}",
        f"{root / DEVICES / str(wanted.index)} names {used or 'none'}"
        + ("; it may have made that one by itself" if used else ""),
        f"make it a connection of its own: nmcli connection modify NAME "
        f"connection.interface-name {wanted.nic}",
    )


def keyfile(nic: str, used: str, root: Path) -> Path | None:
    """The one with that uuid; netplan writes none, and is known by the NIC's name."""
    places = [path for folder in _FOLDERS for path in _connections(root / folder)]
    texts = {path: text_of(path) for path in places if not path.name.startswith("onestack-")}
    for line in (f"uuid={used}", f"interface-name={nic}"):
        for path, text in texts.items():
            without = not re.search(r"^uuid=", text, re.MULTILINE)
            if line in text.splitlines() and (line.startswith("uuid=") or without):
                return path
    return None


def parse(text: str) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return found


def for_bridge(text: str, wanted: Handover, state: str = "") -> str:
    """``state`` is what NetworkManager says of the NIC."""
    own, made = parse(text), _empty()
    made["connection"] = {
        "id": f"onestack-{wanted.bridge}",
        "uuid": bridge_uuid(wanted),
        "type": "bridge",
        "interface-name": wanted.bridge,
        "autoconnect": "false",
        "autoconnect-slaves": "1",
        **{key: own["connection"][key] for key in _CARRIED if key in own["connection"]},
    }
    made["bridge"] = {
        "mac-address": wanted.mac.upper(),
        "stp": "false",
        "forward-delay": "2",
        "multicast-snooping": "false",
    }
    made["ethernet"] = {"mtu": str(wanted.mtu), "cloned-mac-address": wanted.mac.upper()}
    for name in own.sections():
        if name not in ("connection", *_NICS):
            made[name] = dict(own[name])
    for name, key, value in _identity(state):
        if name in made:
            made[name][key] = value
    return _text(made)


def for_nic(text: str, wanted: Handover) -> str:
    own, made = parse(text), _empty()
    made["connection"] = {
        "id": f"onestack-{wanted.nic}",
        "uuid": port_uuid(wanted),
        "type": own["connection"].get("type", "ethernet"),
        "interface-name": wanted.nic,
        "autoconnect-priority": str(FIRST),
        "master": wanted.bridge,
        "slave-type": "bridge",
    }
    for name in own.sections():
        if name in _NICS:
            made[name] = dict(own[name])
    if "ethernet" not in made and made["connection"]["type"] in ("ethernet", "802-3-ethernet"):
        made["ethernet"] = {}
    made["bridge-port"] = {}
    return _text(made)


def without_start(text: str) -> str:
    own = parse(text)
    own["connection"]["autoconnect"] = "false"
    return _text(own)


def _empty() -> configparser.RawConfigParser:
    return parse("")


def _text(found: configparser.RawConfigParser) -> str:
    buffer = io.StringIO()
    found.write(buffer, space_around_delimiters=False)
    return buffer.getvalue()
