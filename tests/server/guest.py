"""A server with a kernel of its own: a guest under QEMU, without KVM."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from tests.server.image import Image
from tests.server.machine import Server
from tests.support.clouds import CommandFailed, run

NICE = ("nice", "-n", "19")
"""It takes two processors for a long time, and nobody waits for it."""
OUTSIDE = "172.24.4.254"
"""Who answers on the network that the second NIC leads to."""
FLOATING = "172.24.4.200"
"""That network's other machine reaches ssh there, for whoever comes to `Guest.beyond`."""


SECOND = f"user,id=second,restrict=on,net=172.24.4.0/24,host={OUTSIDE}"


class Guest(Server):
    """Two processors and 8 GiB. The first NIC leads where this machine gets, the second
    to a network with one other machine, `OUTSIDE`."""

    patience = 1800.0
    slower = 12.0
    kernel = True

    def __init__(self, image: Image, folder: Path) -> None:
        self.image = image
        self.disk, self.console = folder / "server.qcow2", folder / "console.log"
        self._qmp = folder / "qmp"
        self.port, self.beyond = _free_port(), _free_port()
        backing = ("-F", "raw", "-b", str(image.disk))
        run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self.disk)])
        self.process = subprocess.Popen(
            [
                *(*NICE, "qemu-system-x86_64", "-nodefaults", "-no-user-config"),
                *("-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"),
                *("-smp", "2", "-m", "8192", "-display", "none"),
                *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
                *("-append", "root=LABEL=server ro console=ttyS0 panic=10"),
                *("-drive", f"file={self.disk},if=virtio,cache=unsafe,discard=unmap"),
                *("-netdev", f"user,id=first,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
                *("-device", "virtio-net-pci,netdev=first,addr=3"),
                *("-netdev", f"{SECOND},hostfwd=tcp:127.0.0.1:{self.beyond}-{FLOATING}:22"),
                *("-device", "virtio-net-pci,netdev=second,addr=4"),
                *("-device", "virtio-rng-pci", "-serial", f"file:{self.console}"),
                *("-qmp", f"unix:{self._qmp},server=on,wait=off"),
            ],
            stdin=subprocess.DEVNULL,
        )

    def words(self, command: str) -> list[str]:
        return [
            *("ssh", "-i", str(self.image.key), "-p", str(self.port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60"),
            *("-o", "ServerAliveInterval=60", "-o", "ServerAliveCountMax=10"),
            *("root@127.0.0.1", command),
        ]

    def power_cut(self) -> None:
        before = self.boot()
        self._tell("system_reset")
        self.await_boot(before)

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self._qmp))
            with connection.makefile("rw") as lines:
                lines.readline()
                for name in ("qmp_capabilities", command):
                    lines.write(json.dumps({"execute": name}) + "\n")
                    lines.flush()
                    while "return" not in (answer := json.loads(lines.readline())):
                        if "error" in answer:
                            raise CommandFailed(f"QEMU on {name}: {answer['error']}")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.disk.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
