"""NetworkManager: a connection for the bridge, and one that makes the NIC its port.

The operator's own connection stays as it is, but does not start by itself any more. While it
is tried the two are in /run, so that a machine that is switched off and on has its own again.
"""

from __future__ import annotations

import configparser
import io
import re
import uuid
from pathlib import Path

from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Command, Handover, Told

RUNTIME = "run/NetworkManager/system-connections"
LASTING = "etc/NetworkManager/system-connections"
DEVICES = "run/NetworkManager/devices"
_FOLDERS = (LASTING, RUNTIME, "usr/lib/NetworkManager/system-connections")
_NICS = ("ethernet", "802-3-ethernet", "bond", "vlan", "802-1x", "dcb", "ethtool", "sriov", "link")
"""Sections that are about the NIC; all others go to the bridge."""
SECRET = 0o600
FIRST = 100
"""Priority over what NetworkManager would start by itself."""
_SPACE = uuid.UUID("5f3f0e9c-7d55-4d0b-9a70-4f4a5a2c1f10")


class NetworkManager:
    name = "NetworkManager"
    runs_clients = False

    def trial(self, wanted: Handover, root: Path) -> Told:
        text = current(wanted, root)[1]
        made = _files(wanted, root / RUNTIME, text)
        own = in_use(wanted.index, root)
        start = (*RELOAD, up("uuid", bridge_uuid(wanted)), up("uuid", port_uuid(wanted)))
        return Told(made, start, (*RELOAD, up("uuid", own)), dict.fromkeys(made, SECRET))

    def lasting(self, wanted: Handover, root: Path) -> Told:
        """The same connections at another place: they stay as active as they are."""
        path, text = current(wanted, root)
        own = in_use(wanted.index, root)
        made = _files(wanted, root / LASTING, text)
        asleep = path if path.is_relative_to(root / LASTING) else root / LASTING / path.name
        made |= {asleep: without_start(text), **_parts(wanted, root / LASTING, own)}
        made |= dict.fromkeys(_files(wanted, root / RUNTIME, text))
        return Told(made, RELOAD, (*RELOAD, up("uuid", own)), dict.fromkeys(made, SECRET))


RELOAD: tuple[Command, ...] = (("nmcli", "connection", "reload"),)


def up(*which: str) -> Command:
    return ("nmcli", "--wait", "30", "connection", "up", *which)


def _parts(wanted: Handover, folder: Path, own: str) -> dict[Path, str | None]:
    """NICs of a bond that name it by the operator's connection would start that one again."""
    found: dict[Path, str | None] = {}
    for path in sorted(folder.glob("*")):
        if path.is_file() and own in (text := path.read_text()):
            made = re.sub(
                rf"^(master|controller)={re.escape(own)}$",
                rf"\1={port_uuid(wanted)}",
                text,
                flags=re.MULTILINE,
            )
            if made != text:
                found[path] = made
    return found


def _files(wanted: Handover, folder: Path, text: str) -> dict[Path, str | None]:
    return {
        folder / f"onestack-{wanted.bridge}.nmconnection": for_bridge(text, wanted),
        folder / f"onestack-{wanted.nic}.nmconnection": for_nic(text, wanted),
    }


def bridge_uuid(wanted: Handover) -> str:
    return str(uuid.uuid5(_SPACE, f"bridge {wanted.bridge} {wanted.mac}"))


def port_uuid(wanted: Handover) -> str:
    return str(uuid.uuid5(_SPACE, f"port {wanted.nic} {wanted.mac}"))


def in_use(index: int, root: Path) -> str:
    """The uuid of the connection that a device has, or nothing."""
    state = root / DEVICES / str(index)
    said = state.read_text() if state.is_file() else ""
    found = re.search(r"^connection-uuid=(\S+)$", said, re.MULTILINE)
    return found[1] if found and "managed=true" in said else ""


def current(wanted: Handover, root: Path) -> tuple[Path, str]:
    """The connection that the NIC has, and where it is kept. Raises `OnestackError`."""
    used = in_use(wanted.index, root)
    if used and (found := keyfile(wanted.nic, used, root)):
        return found, found.read_text()
    raise OnestackError(
        f"NetworkManager has no file for the connection of {wanted.nic}",
        f"{root / DEVICES / str(wanted.index)} names {used or 'none'}"
        + ("; it may have made that one by itself, or keep it as an ifcfg file" if used else ""),
        f"make it a connection of its own: nmcli connection modify NAME "
        f"connection.interface-name {wanted.nic}",
    )


def keyfile(nic: str, used: str, root: Path) -> Path | None:
    """The one with that uuid; netplan writes none, and is known by the NIC's name."""
    places = [path for folder in _FOLDERS for path in sorted((root / folder).glob("*"))]
    texts = {
        path: path.read_text()
        for path in places
        if path.is_file() and not path.name.startswith("onestack-")
    }
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


def for_bridge(text: str, wanted: Handover) -> str:
    own, made = parse(text), _empty()
    made["connection"] = {
        "id": f"onestack-{wanted.bridge}",
        "uuid": bridge_uuid(wanted),
        "type": "bridge",
        "interface-name": wanted.bridge,
        "autoconnect-priority": str(FIRST),
        "autoconnect-slaves": "1",
        **{key: own["connection"][key] for key in ("zone", "metered") if key in own["connection"]},
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
