"""Whether somebody on the wire answers: asked as no packet filter keeps anybody from answering.

By ARP or neighbour discovery, that is. A neighbour that somebody has written down by hand is
asked by neither: that one is pinged.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import struct
import time
from collections.abc import Iterable

from onestack.host.command import run
from onestack.network.nic import words
from onestack.network.nic.facts import Device, Entry

DISCARD = 9
_ANSWERED = {"REACHABLE"}
"""Others come of what the neighbour asks of us: it does so all the time where it hears nothing."""
_HEARSAY = {"STALE", "DELAY"}
_BY_HAND = {"PERMANENT", "NOARP"}
ECHO = 1.0
"""Seconds for one ping."""
PEERS = 3
"""Neighbours that are asked where there is no gateway, at most."""


def asked_of(device: Device) -> tuple[str, ...]:
    """Gateways; without one some neighbours that the machine has spoken with."""
    if device.gateways:
        return device.gateways
    known = [n for n in device.neighbours if "FAILED" not in n["state"]]
    known.sort(key=lambda neighbour: bool(_BY_HAND & _states(neighbour)))
    return tuple(n["dst"] for n in known if _states(n))[:PEERS]


def silent(who: Iterable[str], device: str, seconds: float) -> list[str]:
    """Those that do not answer at ``device`` within that time. Neighbours stay as they were."""
    had = {address: _neighbour(address, device) for address in who}
    pinged = [address for address, entry in had.items() if _BY_HAND & _states(entry)]
    asked = [address for address in had if address not in pinged]
    for address in asked:
        # so that it is asked anew
        run(["ip", "neigh", "delete", address, "dev", device], check=False, timeout=10)
    until = time.monotonic() + seconds
    while pinged or asked:
        for address in asked:
            _speak(address, device)
        time.sleep(0.1)
        states = {address: _states(_neighbour(address, device)) for address in asked}
        asked = [address for address in asked if not _ANSWERED & states[address]]
        for address in asked:
            if _HEARSAY & states[address]:
                # Left alone the kernel would only ask after five seconds.
                run(["ip", "neigh", "change", address, "dev", device, "nud", "probe"], check=False)
        pinged = [a for a in pinged if not echoes(a, device)]
        if time.monotonic() > until:
            break
    for address in asked:
        if line := words.neighbour(had[address], device):
            run(["ip", *line.split()], check=False, timeout=10)
    return [address for address in had if address in (*asked, *pinged)]


def _speak(address: str, device: str) -> None:
    """One datagram that nobody needs, so that the kernel asks who has the address."""
    six = ipaddress.ip_address(address).version == 6
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if six:
            sender.sendto(b"", (address, DISCARD, 0, socket.if_nametoindex(device)))
        else:
            sender.sendto(b"", (address, DISCARD))


def _neighbour(address: str, device: str) -> Entry:
    line = f"-json neigh show to {address} dev {device} nud all"
    said = run(["ip", *line.split()], check=False, timeout=10)
    found: list[Entry] = json.loads(said.out or "[]")
    return found[0] if found else {}


def _states(entry: Entry) -> set[str]:
    return set(entry.get("state", ())) if "lladdr" in entry else set()


def echoes(address: str, device: str) -> bool:
    """Whether it answers a ping: all that can be asked of one whose hardware address is known."""
    six = ipaddress.ip_address(address).version == 6
    family, protocol = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    )
    asking, answer = (128, 129) if six else (8, 0)
    identity = os.getpid() & 0xFFFF
    # Of version 6 the kernel fills in the sum.
    sum_ = 0 if six else _sum(struct.pack("!BBHHH", asking, 0, 0, identity, 1))
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            scope = (0, 0, socket.if_nametoindex(device)) if six else (0,)
            raw.sendto(struct.pack("!BBHHH", asking, 0, sum_, identity, 1), (address, *scope))
            until = time.monotonic() + ECHO
            while (left := until - time.monotonic()) > 0:
                raw.settimeout(left)
                said, (sender, *_) = raw.recvfrom(2048)
                # Of version 4 it comes with its IP header.
                said = said if six else said[(said[0] & 15) * 4 :]
                if sender.partition("%")[0] == address and len(said) >= 6:
                    kind, _, _, whose = struct.unpack("!BBHH", said[:6])
                    if (kind, whose) == (answer, identity):
                        return True
    except OSError:
        return False
    return False


def _sum(raw: bytes) -> int:
    """Of ICMP's header (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
