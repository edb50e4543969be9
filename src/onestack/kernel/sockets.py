"""Who listens where, from /proc, and where a program may."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onestack.kernel import proc
from onestack.kernel.proc import PROC

LISTEN = "0A"
UNCONNECTED = "07"
"""Of a UDP socket: it takes what anybody sends."""

RANGE = "sys/net/ipv4/ip_local_port_range"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket, or a UDP socket that takes what anybody sends.

    ``pid`` is 0 until `owners` has looked for it; a socket of the kernel's own, such as a
    tunnel's, has none.
    """

    address: str
    port: int
    inode: int
    pid: int = 0
    protocol: str = "tcp"

    @property
    def command(self) -> str:
        return proc.command(self.pid) if self.pid else ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        mine = ipaddress.ip_address(self.address)
        if isinstance(mine, ipaddress.IPv6Address) and mine.ipv4_mapped:
            mine = mine.ipv4_mapped
        return mine.is_loopback

    def blocks(self, address: str) -> bool:
        """Whether it keeps others from listening on the same port of ``address``."""
        mine, wanted = ipaddress.ip_address(self.address), ipaddress.ip_address(address)
        if isinstance(mine, ipaddress.IPv6Address) and mine.ipv4_mapped:
            mine = mine.ipv4_mapped
        # An unbound IPv6 listener usually takes IPv4's port as well.
        return mine == wanted or mine.is_unspecified or wanted.is_unspecified


def _address(text: str) -> str:
    """The kernel's hexadecimal, in words of the machine's byte order."""
    raw = bytes.fromhex(text)
    words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
    return str(ipaddress.ip_address(b"".join(words)))


def listeners(at: Path = PROC / "thread-self") -> list[Listener]:
    """All listening TCP sockets of the calling thread's network namespace."""
    return _sockets(at, "tcp", LISTEN)


def receivers(at: Path = PROC / "thread-self") -> list[Listener]:
    """All UDP sockets there that are bound to a port and take what anybody sends to it.

    Without those with a port of the range that the kernel gives to who only asks.
    """
    low, high = map(int, (at.parent / RANGE).read_text().split())
    return [one for one in _sockets(at, "udp", UNCONNECTED) if not low <= one.port <= high]


def _sockets(at: Path, protocol: str, state: str) -> list[Listener]:
    found = []
    for name in (protocol, f"{protocol}6"):
        try:
            lines = (at / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == state:
                address, _, port = fields[1].partition(":")
                found.append(
                    Listener(_address(address), int(port, 16), int(fields[9]), protocol=protocol)
                )
    return found


def owners(wanted: Iterable[Listener], at: Path = PROC) -> list[Listener]:
    """``wanted`` with the pid of the first process that has each open."""
    wanted = list(wanted)
    missing = {f"socket:[{listener.inode}]": listener for listener in wanted}
    pids: dict[int, int] = {}
    for pid in sorted(proc.pids(at)):
        if not missing:
            break
        try:
            descriptors = list((at / str(pid) / "fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                link = os.readlink(descriptor)
            except OSError:
                continue  # closed by now
            if listener := missing.pop(link, None):
                pids[listener.inode] = pid
    return [dataclasses.replace(one, pid=pids.get(one.inode, 0)) for one in wanted]


def holder(port: int, address: str) -> tuple[int, str] | None:
    """Pid and command of who keeps others from this port here, if it can be found out."""
    found = [one for one in listeners() if one.port == port and one.blocks(address)]
    return next(((one.pid, one.command) for one in owners(found) if one.pid), None)


def may_listen(address: str) -> bool:
    """Whether a program here may listen at ``address``; ``False`` also for what is none."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
