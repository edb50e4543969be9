"""Sitting at a machine with the guide: its cloud, and what was found on the way."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.support import notes
from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

SSH = (
    "ssh -i {key} -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o ConnectTimeout=5 -o LogLevel=ERROR cirros@{address} '{command}'"
)
OFFICE = """set -e
ip netns add office
ip link add eno1 type veth peer name uplink netns office
ip -n office address add 10.50.14.1/24 dev uplink
ip -n office link set uplink up
ip link set eno1 up
ip address add 10.50.14.50/24 dev eno1
"""
"""What the machine of the notes was cabled to: a card with an address, and a router behind it."""
BALANCER = "web"
ALWAYS = (
    # In a namespace of its own it leaves the machine's clock alone.
    "warn: the cloud compares the clock with CONFIG_NTP_SERVERS, and does not set it$",
    # Whether the notes' server is reached from here, and what it says then.
    f"warn: the time server {notes.EDITS['CONFIG_NTP_SERVERS']} has not answered ",
    "warn: the clock could not be compared: no time server has answered well enough$",
    "info: the clock is ",
)
"""What `doctor` says of any cloud of the notes' file, as patterns: how bad, and what."""


class AsInTheNotes(CloudUnderTest):
    """Made by packstack's command; ``answers`` are packstack's options."""

    def up(self, **more: Any) -> subprocess.CompletedProcess[str]:
        words = [str(notes.PACKSTACK), "--name", self.name, "--netns"]
        words += ["--answer-file", str(self.answer_file), *self.answers]
        return run(words, timeout=more.pop("timeout", 1800), **more)


def remarked(found: dict[str, Any]) -> list[str]:
    """All that `doctor` says of the cloud, and what it warns of on the machine, but `ALWAYS`."""
    said = [*(f for f in found["machine"] if f["severity"] != "info"), *found["remarks"]]
    lines = [f"{f['severity']}: {f['what']}" for f in said]
    return [line for line in lines if not any(re.match(known, line) for known in ALWAYS)]


class Sitting:
    """The cloud and the ids found on the way."""

    def __init__(self, cloud: CloudUnderTest, backend: str, work: Path) -> None:
        self.cloud = cloud
        self.backend = backend
        self.work = work
        self.key = work / "key"
        self.ids: dict[str, str] = {}

    def wiring(self, *words: str) -> str:
        """What `onestack net show` prints, once it finds nothing wrong."""
        line = [str(LAUNCHER), "net", "show", *words, "--name", self.cloud.name]
        shown: str = wait_until("the wiring", lambda: run(line).stdout, 90)
        return shown

    def ssh(self, address: str, command: str, timeout: float = 60, port: int = 22) -> str:
        line = SSH.format(key=self.key, address=address, command=command, port=port)
        return self.cloud.type(line, timeout=timeout)

    def dhcp_has(self, net: str, pattern: str) -> bool:
        """Whether the network's DHCP server has such an address."""
        shown = self.cloud.type(f"ip netns exec qdhcp-{self.ids[net]} ifconfig")
        return bool(re.search(rf"inet {pattern}", shown))

    def active(self, name: str) -> bool:
        status = self.cloud.type(f"openstack server show {name} -f value -c status")
        return status.strip() == "ACTIVE"

    def pings(self, name: str) -> bool:
        """Whether the server answers at its floating address."""
        return self.cloud.inside(f"ping -c1 -W2 {self.ids[name]}", expect=None).returncode == 0

    def lets_in(self, name: str) -> bool:
        return self.ssh(self.ids[name], "true") == ""

    def has_disk(self, name: str) -> bool:
        return "vdb" in self.ssh(self.ids[name], "cat /proc/partitions")

    def json(self, command: str) -> Any:
        return json.loads(self.cloud.type(f"openstack {command} -f json", timeout=180))

    def value(self, command: str, column: str) -> str:
        return self.cloud.type(f"openstack {command} -f value -c {column}", timeout=180).strip()

    def becomes(
        self, status: str, command: str, column: str = "status", seconds: int = 180
    ) -> None:
        wait_until(f"{command} {status}", lambda: self.value(command, column) == status, seconds, 1)

    def balanced(self, seconds: int) -> None:
        """What was asked of the balancer is done."""

        def done() -> bool:
            status = self.value(f"loadbalancer show {BALANCER}", "provisioning_status")
            assert status != "ERROR"
            return status == "ACTIVE"

        wait_until("the balancer ACTIVE", done, seconds, 1)

    def said_by_doctor(self, expect: int | None = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.cloud.onestack("doctor", "--json", expect=expect).stdout
        )
        return found

    def told_in_logs(self) -> dict[str, list[str]]:
        """Logs that have secrets of the cloud's in them, and which. Short ones prove nothing."""
        secrets = {n: v for n, v in self.cloud.secrets().items() if len(v) >= 12}
        found = {}
        for path in (self.cloud.root / "log").iterdir():
            text = path.read_text(errors="replace")
            if told := [name for name, value in secrets.items() if value in text]:
                found[path.name] = told
        return found
