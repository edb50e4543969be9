"""Whether somebody on the wire answers: asked as no packet filter keeps anybody from answering."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import Iterable

from onestack.host.command import run
from onestack.network.nic.facts import Device

DISCARD = 9
_ANSWERED = {"REACHABLE", "DELAY", "PROBE"}
PEERS = 3
"""Neighbours that are asked where there is no gateway, at most."""


def asked_of(device: Device) -> tuple[str, ...]:
    """Gateways; without one some neighbours that the machine has spoken with."""
    if device.gateways:
        return device.gateways
    known = [n["dst"] for n in device.neighbours if "lladdr" in n and "FAILED" not in n["state"]]
    return tuple(known[:PEERS])


def silent(who: Iterable[str], device: str, seconds: float) -> list[str]:
    """Those that do not answer at ``device`` within that time."""
    waiting = list(who)
    for address in waiting:
        # Not one that was written down by hand: that one stays, and counts as an answer.
        run(["ip", "neigh", "delete", address, "dev", device], check=False, timeout=10)
    until = time.monotonic() + seconds
    while waiting:
        for address in waiting:
            _speak(address, device)
        time.sleep(0.1)
        waiting = [address for address in waiting if not _answered(address, device)]
        if time.monotonic() > until:
            break
    return waiting


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


def _answered(address: str, device: str) -> bool:
    words = ["ip", "-json", "neigh", "show", "to", address, "dev", device]
    found = json.loads(run(words, check=False, timeout=10).out or "[]")
    return any(
        "lladdr" in entry and (_ANSWERED | {"PERMANENT"}) & set(entry.get("state", ()))
        for entry in found
    )
