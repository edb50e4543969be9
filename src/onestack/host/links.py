"""Network devices, their addresses and what configures them. Starts no program.

Standard library only (preflight): the kernel is asked directly (rtnetlink(7)), so this
works where iproute2 is not installed yet.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
_DONE, _ERROR = 3, 2
_DUMP = 0x301
"""NLM_F_REQUEST and NLM_F_DUMP."""
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_IFLA_IFNAME = 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_GLOBAL = 0
"""RT_SCOPE_UNIVERSE."""


def addresses() -> dict[str, tuple[str, ...]]:
    """Each network device and its global addresses, with prefix length.

    They are those of the calling thread's network namespace. Raises `OSError`.
    """
    names: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        for body in _dump(kernel, RTM_GETLINK, RTM_NEWLINK):
            index = _LINK.unpack_from(body)[2]
            names[index] = _attributes(body[_LINK.size :])[_IFLA_IFNAME].rstrip(b"\0").decode()
            found[names[index]] = []
        for body in _dump(kernel, RTM_GETADDR, RTM_NEWADDR):
            _, length, _, scope, index = _ADDRESS.unpack_from(body)
            given = _attributes(body[_ADDRESS.size :])
            # On a point-to-point device the one is its peer's, the other its own.
            raw = given.get(_IFA_LOCAL) or given.get(_IFA_ADDRESS)
            if scope == _GLOBAL and raw and index in names:
                found[names[index]].append(f"{ipaddress.ip_address(raw)}/{length}")
    return {name: tuple(each) for name, each in found.items()}


def _dump(kernel: socket.socket, question: int, answer: int) -> Iterator[bytes]:
    """The bodies of all messages of the kind ``answer`` that ``question`` brings."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), question, _DUMP, 1, 0) + body)
    while True:
        data = kernel.recv(1 << 18)
        while data:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", data, _HEADER.size)[0]
                raise OSError(number, "the kernel does not tell the network devices")
            if kind == answer:
                yield data[_HEADER.size : length]
            data = data[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[max(_aligned(length), _ATTRIBUTE.size) :]
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def default_nic(table: str) -> str:
    """The device of the first default route in ``table`` (/proc/net/route), or ``""``."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            return fields[0]
    return ""


def managers(nic: str, root: Path = Path("/")) -> tuple[str, ...]:
    """What configures the device, as far as its files say."""
    try:
        index = socket.if_nametoindex(nic)
    except OSError:
        index = 0
    found = []
    device = root / f"run/NetworkManager/devices/{index}"
    if device.is_file() and "managed=true" in device.read_text():
        found.append("NetworkManager")
    if any(_mentions(path, nic) for path in (root / "etc/netplan").glob("*.yaml")):
        found.append("netplan")
    interfaces = [root / "etc/network/interfaces", *(root / "etc/network/interfaces.d").glob("*")]
    if any(_mentions(path, nic) for path in interfaces):
        found.append("ifupdown")
    link = root / f"run/systemd/netif/links/{index}"
    if link.is_file() and "ADMIN_STATE=configured" in link.read_text():
        found.append("systemd-networkd")
    return tuple(found)


def _mentions(path: Path, word: str) -> bool:
    try:
        return bool(re.search(rf"\b{re.escape(word)}\b", path.read_text()))
    except OSError:
        return False
