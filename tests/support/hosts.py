"""Hosts of a test: each with a network, mounts, a name and processes of its own, on one machine.

A host is a process 1 in namespaces of its own, with a wire to a switch. What is told to it goes
in by nsenter. What it writes to the machine's /etc and /var it alone sees: a place that another
host removed would be gone with all that is mounted there. Programs, loop devices, the kernel and
its modules are one for all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clouds import LAUNCHER, run

NET = "198.51.100"
FIRST = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 host /run
mount -t tmpfs -o mode=1777 host /dev/shm
for own in /etc /var/lib /var/log /var/cache; do
    mkdir -p "$2/own$own" "$2/work$own"
    options="lowerdir=$own,upperdir=$2/own$own,workdir=$2/work$own,redirect_dir=on"
    mount -t overlay -o "$options" overlay "$own"
done
mkdir -p "$2/root"
mount --bind "$2/root" "$3"
hostname "$1"
echo "$1" >/etc/hostname
echo "127.0.0.1 localhost $1" >/etc/hosts
cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id
ip link set lo up
echo ready
# a shell as process 1 reaps what nobody waits for
trap : TERM
while :; do sleep 3600 & wait $! || :; done
"""
"""NAME FOLDER ROOT: makes the host's own places, says so, and stays."""


@dataclass
class TestHost:
    """``root`` is where its cloud is, the same path in each host."""

    __test__ = False
    name: str
    address: str
    root: Path
    first: subprocess.Popen[str]
    """Outside: the parent of its process 1."""
    pid: int
    switch: int
    wire: str
    """The switch's end of its wire."""

    def command(self, *words: str) -> list[str]:
        spaces = ("--net", "--mount", "--uts", "--ipc", "--pid")
        return ["nsenter", "--target", str(self.pid), *spaces, "--", *words]

    def run(self, *words: str, expect: int | None = 0, timeout: float = 600) -> str:
        """Output of a command there."""
        return run(self.command(*words), expect=expect, timeout=timeout).stdout

    def onestack(self, *words: str, expect: int | None = 0, timeout: float = 1800) -> str:
        root = ("--root", str(self.root))
        return self.run(str(LAUNCHER), *words, *root, expect=expect, timeout=timeout)

    def cut(self) -> None:
        """A power cut: the wire first, then everything at once."""
        _in_switch(self.switch, f"ip link set {self.wire} down")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.first.wait(30)

    def unplug(self) -> None:
        _in_switch(self.switch, f"ip link set {self.wire} down")

    def plug(self) -> None:
        _in_switch(self.switch, f"ip link set {self.wire} up")


@dataclass
class Hosts:
    """``folder`` has what hosts keep; ``root`` is the place of each one's cloud."""

    folder: Path
    root: Path
    switch: subprocess.Popen[str]
    pid: int
    made: list[TestHost] = field(default_factory=list)

    def host(self, name: str) -> TestHost:
        number = len(self.made) + 1
        wire, place = f"w{number}", self.folder / name
        place.mkdir()
        words = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc"]
        first = subprocess.Popen(
            [*words, "/bin/sh", "-c", FIRST, "host", name, str(place), str(self.root)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert first.stdout
        assert first.stdout.readline() == "ready\n", f"the host {name} was not made"
        (pid,) = _children(first.pid)
        address = f"{NET}.{10 + number}"
        _in_switch(
            self.pid,
            f"ip link add {wire} type veth peer name lan0 netns /proc/{pid}/ns/net"
            f" && ip link set {wire} master switch up",
        )
        made = TestHost(name, address, self.root, first, pid, self.pid, wire)
        self.made.append(made)
        made.run("ip", "link", "set", "lan0", "up")
        made.run("ip", "address", "add", f"{address}/24", "dev", "lan0")
        made.run("ip", "route", "add", "default", "via", f"{NET}.1")
        return made

    def end(self) -> None:
        for one in reversed(self.made):
            if one.first.poll() is None:
                one.cut()
        # Loop devices are the machine's own: no host takes them along.
        for file in self.folder.rglob("*.img"):
            devices = run(["losetup", "--noheadings", "--output", "NAME", "-j", str(file)]).stdout
            for device in devices.split():
                run(["losetup", "--detach", device])


@contextmanager
def hosts(folder: Path, root: Path) -> Iterator[Hosts]:
    """No host yet, and a switch for them. Needs root."""
    root.mkdir(parents=True, exist_ok=True)
    switch = subprocess.Popen(
        ["unshare", "--net", "/bin/sh", "-c", "echo ready; exec sleep infinity"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert switch.stdout and switch.stdout.readline() == "ready\n"
    made = Hosts(folder, root, switch, switch.pid)
    try:
        _in_switch(switch.pid, "ip link set lo up; ip link add switch type bridge")
        _in_switch(switch.pid, f"ip address add {NET}.1/24 dev switch; ip link set switch up")
        yield made
    finally:
        made.end()
        switch.kill()
        switch.wait(30)
        root.rmdir()
        root.parent.rmdir()


def _in_switch(pid: int, script: str) -> None:
    run(["nsenter", "--target", str(pid), "--net", "--", "/bin/sh", "-ec", script])


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
