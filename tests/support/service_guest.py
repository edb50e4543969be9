"""A service's machine under plain QEMU: started from an image and a configuration drive."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

UUID = "83679162-1378-4288-a2d4-70e13ec132aa"
MAC = "fa:16:3e:00:00:11"
ADDRESS = "10.0.2.15"


def cloud_config(files: Mapping[str, str]) -> str:
    """User data as Octavia writes it."""
    lines = ["#cloud-config", "write_files:"]
    for path, content in files.items():
        lines += [f"-   path: {path}", "    content: |"]
        lines += [f"        {line}" for line in content.splitlines()]
    return "\n".join([*lines, "runcmd:", "-   systemctl restart rsyslog", ""])


def in_parts(script: str) -> str:
    """User data as the orchestration service packs a script."""
    whole = MIMEMultipart()
    for content, name, kind in (
        ("#cloud-config\nuser: x\n", "cloud-config", "cloud-config"),
        (script, "cfn-userdata", "x-cfninitdata"),
        ("#!/usr/bin/python\nraise SystemExit(1)\n", "loguserdata.py", "x-shellscript"),
    ):
        part = MIMEText(content, _subtype=kind, _charset="us-ascii")
        part.add_header("Content-Disposition", "attachment", filename=name)
        whole.attach(part)
    return whole.as_string()


def write_drive(
    place: Path,
    user_data: str,
    name: str,
    keys: Mapping[str, str] | None = None,
    servers: Sequence[str] = (),
) -> Path:
    """A configuration drive as nova writes it, for a guest with one NIC of a fixed address.

    ``keys`` are of its owner's keypairs, by name; ``servers`` are the subnet's name servers.
    """
    latest = place / "drive/openstack/latest"
    latest.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {"uuid": UUID, "hostname": f"{name}.novalocal", "name": name}
    if keys:
        meta["public_keys"] = dict(keys)
    route = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}
    network = {
        "id": "network0",
        "link": "tap1",
        "type": "ipv4",
        "ip_address": ADDRESS,
        "netmask": "255.255.255.0",
        "routes": [route],
    }
    link = {"id": "tap1", "type": "ovs", "mtu": 1442, "ethernet_mac_address": MAC}
    services = [{"type": "dns", "address": server} for server in servers]
    networks = {"links": [link], "networks": [network], "services": services}
    (latest / "user_data").write_text(user_data)
    (latest / "meta_data.json").write_text(json.dumps(meta))
    (latest / "network_data.json").write_text(json.dumps(networks))
    drive = place / "drive.iso"
    words = [
        "genisoimage",
        "-quiet",
        "-ldots",
        "-allow-lowercase",
        "-allow-multidot",
        "-l",
        "-J",
        "-r",
        "-V",
        "config-2",
    ]
    make = [*words, "-o", str(drive), str(place / "drive")]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    return drive


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class ServiceGuest:
    """A guest that may be ended and started again: its disk stays."""

    def __init__(
        self,
        place: Path,
        image: Path,
        drive: Path | None,
        devices: Sequence[str],
        memory: int = 1024,
        disk: str = "2G",
    ) -> None:
        self.place, self.drive, self.devices, self.memory = place, drive, devices, memory
        self.disk, self.console_file = place / "disk.qcow2", place / "console"
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image)]
        subprocess.run([*words, str(self.disk), disk], check=True, timeout=60)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.console_file.unlink(missing_ok=True)
        (self.place / "monitor").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc"),
                *("-m", str(self.memory), "-display", "none", "-nodefaults", "-vga", "std"),
                *("-serial", f"file:{self.console_file}"),
                *("-qmp", f"unix:{self.place}/monitor,server=on,wait=off"),
                *("-drive", f"file={self.disk},if=virtio"),
                *self._cdrom(),
                *self.devices,
            ],
            stdin=subprocess.DEVNULL,
        )

    def _cdrom(self) -> tuple[str, ...]:
        if self.drive is None:
            return ()
        return ("-drive", f"file={self.drive},media=cdrom,if=ide,readonly=on")

    def console(self) -> str:
        if not self.console_file.exists():
            return ""
        return self.console_file.read_text(errors="replace").replace("\r", "")

    def wait(self, text: str, seconds: float = 600) -> str:
        """The console's line with ``text``."""
        until = time.monotonic() + seconds
        while text not in self.console():
            assert self.process and self.process.poll() is None, f"QEMU ended: {self.console()}"
            assert time.monotonic() < until, f"no {text!r} on the console:\n{self.console()}"
            time.sleep(0.5)
        return next(line for line in self.console().splitlines() if text in line)

    def press_power(self, seconds: float = 180) -> None:
        """The power button, and the wait for what it does."""
        assert self.process
        self._tell("system_powerdown")
        assert self.process.wait(timeout=seconds) == 0
        assert "Power down" in self.console()

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(f"{self.place}/monitor")
            with monitor.makefile("rw") as lines:
                lines.readline()
                for each in ("qmp_capabilities", command):
                    lines.write(json.dumps({"execute": each}) + "\n")
                    lines.flush()
                    answer: dict[str, Any] = {}
                    while "return" not in answer:
                        answer = json.loads(lines.readline())
                        assert "error" not in answer, answer

    def kill(self) -> None:
        """As a power cut does."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=20)
