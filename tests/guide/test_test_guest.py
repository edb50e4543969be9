"""The test guest under plain QEMU: what an instance must do, without a cloud around it.

Runs after a cloud was brought up, so that QEMU and dnsmasq are installed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.images.guest import cached_test_guest
from onestack.model.cloud import CACHE

SPACE = f"guest-{os.getpid()}"
ADDRESS = "192.168.10.11"
MAC = "fa:16:3e:00:00:11"
USER_DATA = "#!/bin/sh\necho said-by-user-data\nid -un >/tmp/user-data-ran\n"


def run(*words: str | Path, timeout: float = 30, check: bool = True) -> str:
    done = subprocess.run(
        [str(w) for w in words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def inside(*words: str | Path, **options: Any) -> str:
    return run("ip", "netns", "exec", SPACE, *words, **options)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    # Not pytest's own: a unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def network(place: Path) -> Iterator[None]:
    """A namespace with what neutron gives: DHCP with options 26 and 121, and metadata."""
    run("ip", "netns", "add", SPACE)
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            "addr add 192.168.10.1/24 dev br0",
            "addr add 192.168.10.2/24 dev br0",
            "addr add 169.254.169.254/32 dev br0",
            "link set br0 up",
            "tuntap add tap0 mode tap",
            "link set tap0 master br0 up",
        ):
            inside("ip", *words.split())
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "key")
        key = (place / "key.pub").read_text()
        latest = place / "web/openstack/latest"
        latest.mkdir(parents=True)
        (latest / "meta_data.json").write_text(
            json.dumps(
                {
                    "uuid": "8c0e1d1c-0000-4000-8000-000000000001",
                    "public_keys": {"mine": key},
                    "keys": [{"name": "mine", "type": "ssh", "data": key}],
                    "hostname": "first.novalocal",
                    "devices": [],
                }
            )
        )
        (latest / "user_data").write_text(USER_DATA)
        dhcp = (
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-hosts --no-resolv --port=0 "
            "--interface=br0 --bind-interfaces --dhcp-range=192.168.10.10,192.168.10.50 "
            "--dhcp-option=3,192.168.10.9 --dhcp-option=26,1442 --dhcp-option=6,192.168.10.2 "
            "--dhcp-option=121,169.254.169.254/32,192.168.10.2,0.0.0.0/0,192.168.10.1 "
            f"--dhcp-host={MAC},{ADDRESS} --dhcp-leasefile={place}/leases --pid-file= --user=root"
        )
        metadata = Path(__file__).with_name("guest_metadata.py")
        with (place / "helpers.log").open("wb") as log:
            for argv in (dhcp.split(), [sys.executable, str(metadata), str(place / "web")]):
                helpers.append(
                    subprocess.Popen(
                        ["ip", "netns", "exec", SPACE, *argv], stdout=log, stderr=subprocess.STDOUT
                    )
                )
        yield
    finally:
        for helper in helpers:
            helper.terminate()
            helper.wait(timeout=10)
        run("ip", "netns", "del", SPACE)


class Guest:
    """A running guest: its console, its monitor, and ssh to it."""

    def __init__(self, place: Path, machine: str, *devices: str) -> None:
        self.place = place
        self.console_file = place / "console"
        self.overlay = place / "disk.qcow2"
        image = cached_test_guest(CACHE / "images")
        self.overlay.unlink(missing_ok=True)
        run(
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            image,
            "-F",
            "qcow2",
            self.overlay,
            "1G",
        )
        for left in (place / "monitor", self.console_file):
            left.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *("ip", "netns", "exec", SPACE, "qemu-system-x86_64", "-accel", "tcg"),
                *("-machine", machine, "-m", "192", "-display", "none", "-nodefaults"),
                *("-vga", "std", "-serial", f"file:{self.console_file}"),
                *("-qmp", f"unix:{place}/monitor,server=on,wait=off"),
                *("-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no"),
                *(word.format(disk=self.overlay) for word in devices),
            ],
            stdin=subprocess.DEVNULL,
        )
        self.monitor: socket.socket | None = None

    def console(self) -> str:
        text = self.console_file.read_text(errors="replace") if self.console_file.exists() else ""
        return text.replace("\r", "")

    def wait(self, text: str, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while text not in self.console():
            assert self.process.poll() is None, f"QEMU ended: {self.console()}"
            assert time.monotonic() < until, f"no {text!r} on the console:\n{self.console()}"
            time.sleep(0.2)

    def ssh(self, command: str, timeout: float = 40) -> str:
        return inside("ssh", *self.login(), f"cirros@{ADDRESS}", command, timeout=timeout)

    def copy(self, file: Path) -> None:
        """Into the home, by the protocol of before sftp: Octavia's tests do."""
        inside("scp", "-O", *self.login(), file, f"cirros@{ADDRESS}:", timeout=40)

    def login(self) -> list[str | Path]:
        options = (
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=15",
        )
        return ["-i", self.place / "key", *(w for option in options for w in ("-o", option))]

    def tell(self, execute: str, until: str = "", /, **arguments: Any) -> None:
        """One QMP command, and the wait for the event ``until``."""
        if self.monitor is None:
            self.monitor = socket.socket(socket.AF_UNIX)
            self.monitor.connect(f"{self.place}/monitor")
            self.monitor.settimeout(20)
            self.lines = self.monitor.makefile("rw")
            self.lines.readline()
            self.tell("qmp_capabilities")
        self.lines.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self.lines.flush()
        answered = False
        happened = not until
        while not (answered and happened):
            message = json.loads(self.lines.readline())
            assert "error" not in message, message
            answered = answered or "return" in message
            if message.get("event") == until:
                # Removal is told twice: the device's own event names it.
                happened = until != "DEVICE_DELETED" or "device" in message["data"]

    def end(self) -> None:
        if self.monitor:
            self.monitor.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=20)


PC = ("-drive", "file={disk},if=virtio", "-device", f"virtio-net-pci,netdev=net0,mac={MAC}")
Q35 = (
    *(
        "-device",
        "pcie-root-port,id=port1,chassis=1",
        "-device",
        "pcie-root-port,id=port2,chassis=2",
    ),
    *("-device", "virtio-scsi-pci", "-drive", "file={disk},if=none,id=disk"),
    *("-device", "scsi-hd,drive=disk"),
    *("-device", f"virtio-net-pci,netdev=net0,mac={MAC},bus=port1"),
)


def attach_volume(guest: Guest, **where: str) -> None:
    volume = guest.place / "volume.qcow2"
    if not volume.exists():
        run("qemu-img", "create", "-q", "-f", "qcow2", volume, "1G")
    file = {"driver": "file", "filename": str(volume)}
    guest.tell("blockdev-add", driver="qcow2", file=file, **{"node-name": "volume"})
    guest.tell("device_add", driver="virtio-blk-pci", drive="volume", id="vol", **where)


def wait_for(guest: Guest, command: str, text: str, seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while text not in (found := guest.ssh(command)):
        assert time.monotonic() < until, found
        time.sleep(0.5)


def test_a_guest_lives(place: Path, network: None) -> None:
    guest = Guest(place, "pc", *PC)
    try:
        guest.wait("guest: boot completed")
        for line in (
            f"guest: eth0 {MAC} addresses {ADDRESS}/24",
            "gateway 192.168.10.1 mtu 1442",
            "guest: ssh host keys ready",
            "guest: metadata ok from http://169.254.169.254/openstack/latest",
            "name first, 1 ssh keys",
            "\nsaid-by-user-data\n",
            "guest: user-data ok",
        ):
            assert line in guest.console(), guest.console()
        guest.wait("first login:")

        assert guest.ssh("cat /tmp/user-data-ran") == "root\n"
        assert guest.ssh("hostname; id -un; sudo id -un").split() == ["first", "cirros", "root"]
        routes = guest.ssh("ip route")
        assert "default via 192.168.10.1 dev eth0" in routes
        assert "169.254.169.254 via 192.168.10.2 dev eth0" in routes
        assert "nameserver 192.168.10.2" in guest.ssh("cat /etc/resolv.conf")
        # Passwords are for the console only.
        refused = inside(
            *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o"),
            *("UserKnownHostsFile=/dev/null", f"cirros@{ADDRESS}", "true", "2>&1"),
            check=False,
        )
        assert refused == ""
        pid = guest.ssh("cat /var/run/udhcpc.eth0.pid")
        guest.ssh(f"sudo /bin/kill -USR1 {pid}")
        guest.ssh("ping -c 1 -w 5 192.168.10.1")

        # What is started so goes on when the session has ended.
        script = place / "lasting"
        script.write_text("#!/bin/sh\nsleep 2; id -un >/tmp/lasted\n")
        script.chmod(0o755)
        guest.copy(script)
        guest.ssh("sudo screen -d -m ./lasting")
        wait_for(guest, "cat /tmp/lasted 2>&1 || true", "root")

        attach_volume(guest)
        wait_for(guest, "lsblk -lb --nodeps", "vdb")
        guest.ssh("sudo mkfs -t ext4 /dev/vdb && sudo mount /dev/vdb /mnt")
        guest.ssh("echo kept | sudo tee /mnt/file && sync && sudo umount /mnt")
        guest.tell("device_del", "DEVICE_DELETED", id="vol")
        wait_for(guest, "lsblk -lb --nodeps; echo end", "end")
        assert "vdb" not in guest.ssh("lsblk -lb --nodeps")

        guest.tell("system_powerdown", "SHUTDOWN")
        assert guest.process.wait(timeout=20) == 0
        assert "Power down" in guest.console()
    finally:
        guest.end()


def test_another_machine_type_and_bus(place: Path, network: None) -> None:
    guest = Guest(place, "q35", *Q35)
    try:
        guest.wait("guest: boot completed")
        assert "sda2" in guest.ssh("lsblk -l")
        attach_volume(guest, bus="port2")
        wait_for(guest, "lsblk -lb --nodeps", "vda")
        assert guest.ssh("sudo mount /dev/vda /mnt && cat /mnt/file; sudo umount /mnt") == "kept\n"
        guest.tell("device_del", "DEVICE_DELETED", id="vol")
    finally:
        guest.end()
