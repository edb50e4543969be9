"""DHCP clients that somebody started for a device: they go on for the other one.

systemd-networkd and NetworkManager have one of their own, and start it by themselves.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.host.command import environment
from onestack.model.errors import OnestackError

KNOWN = ("dhclient", "udhcpc")
DAEMON = "dhcpcd"
"""One for all devices; it follows what dhcpcd.conf says."""


@dataclass(frozen=True)
class Client:
    pid: int
    argv: tuple[str, ...]

    @property
    def program(self) -> str:
        return program_of(self.argv[0])

    def words(self, nic: str, device: str) -> tuple[str, ...]:
        """How the same is started for another device: its files have the device's name too."""
        return (self.argv[0], *(word.replace(nic, device) for word in self.argv[1:]))


def of(nic: str) -> list[Client]:
    """Those of ``nic``, in this network namespace."""
    return [client for client in _running() if nic in client.argv and client.program in KNOWN]


def daemon(nic: str) -> Client | None:
    """A dhcpcd that may configure it."""
    for client in _running():
        if client.program == DAEMON and follows(client.argv, nic):
            return client
    return None


def program_of(word: str) -> str:
    """Of the first word of a command line; dhcpcd makes a title of it: ``dhcpcd: eno1 [ip4]``."""
    return word.split(":")[0].rpartition("/")[2].strip()


def follows(argv: tuple[str, ...], nic: str) -> bool:
    """Whether a dhcpcd has that NIC; one for all names none."""
    title = argv[0].partition(": ")[2]
    if title:
        return nic in title.split() or not re.sub(r"\[[^]]*\]", "", title).strip()
    return nic in argv or len(argv) == 1 or argv[-1].startswith("-")


def _running(proc: Path = Path("/proc")) -> Iterator[Client]:
    here = os.stat("/proc/thread-self/ns/net").st_ino
    for place in proc.iterdir():
        if not place.name.isdigit():
            continue
        try:
            argv = place.joinpath("cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if program_of(argv[0].decode(errors="replace")) not in (*KNOWN, DAEMON):
                continue
            if place.joinpath("ns/net").stat().st_ino != here:
                continue
        except OSError:
            continue
        yield Client(int(place.name), tuple(word.decode(errors="replace") for word in argv))


def stop(clients: Iterable[Client]) -> None:
    """At once: asked kindly they would give the address back, or take it off the device."""
    for client in clients:
        try:
            os.kill(client.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    until = time.monotonic() + 5
    while any(Path(f"/proc/{c.pid}/exe").exists() for c in clients) and time.monotonic() < until:
        time.sleep(0.02)


def start(argv: Iterable[str]) -> None:
    """As it was, in the background: it need not have asked its server yet."""
    words = list(argv)
    if words and words[0].rpartition("/")[2] == "dhclient":
        # as boot scripts start it: it does not wait for its server
        words = [word for word in words if word not in ("-1", "-d", "-v")]
        words[1:1] = [] if "-nw" in words else ["-nw"]
    try:
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise OnestackError(f"{words[0]} cannot be started", error.strerror or "") from error


def hand_over(clients: Iterable[Client], nic: str, device: str) -> None:
    known = list(clients)
    stop(known)
    for client in known:
        _lease(client, nic, device)
        start(client.words(nic, device))


def _lease(client: Client, nic: str, device: str) -> None:
    """What dhclient remembers of its address, so that it asks for the same."""
    for word in client.argv:
        if re.search(r"\.leases?$", word) and nic in word and Path(word).is_file():
            text = Path(word).read_text().replace(f'interface "{nic}"', f'interface "{device}"')
            Path(word.replace(nic, device)).write_text(text)


def undo(data: dict[str, Any]) -> Sequence[str]:
    """Of the journal: nobody asks for the other device, and the same as before for this one."""
    stop(of(data["device"]))
    if not of(data["nic"]):
        for argv in data["started"]:
            start(argv)
    return ()
