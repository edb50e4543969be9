"""The machine gets another address: it is noticed, said, and `up` goes there with the cloud.

The machine is a network namespace that the cloud does not know of: what is its own there can be
taken away. Packages and release must be here already; nothing of it reaches a mirror.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clouds import LAUNCHER, run

pytestmark = pytest.mark.timeout(1800)

NAME = os.environ.get("ONESTACK_TEST_NAME", "moved")
MACHINE = "onestack-moving"
OFF = [f"CONFIG_{name}_INSTALL=n" for name in ("NOVA", "NEUTRON", "CINDER")]


@dataclass
class Machine:
    root: Path

    def inside(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--net=/run/netns/{MACHINE}", "--"]
        return run([*enter, *words], expect=expect, timeout=900)

    def onestack(
        self, verb: str, *words: str, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.inside(str(LAUNCHER), verb, "--name", NAME, *words, expect=expect)

    def has(self, new: str, old: str = "") -> None:
        """As DHCP does it; the way out stays."""
        if old:
            # First: a second one of the same network goes with the one that it stands behind.
            self.inside("ip", "address", "delete", f"198.51.100.{old}/24", "dev", "out")
        self.inside("ip", "address", "add", f"198.51.100.{new}/24", "dev", "out")
        self.inside("ip", "route", "replace", "default", "via", "198.51.100.1", "dev", "out")

    def doctor(self) -> list[dict[str, str]]:
        found: dict[str, Any] = json.loads(self.onestack("doctor", "--json", expect=None).stdout)
        return [*found["remarks"], *found["machine"]]

    def public(self) -> set[str]:
        """Where the catalog sends people."""
        words = ("openstack", "--os-cloud", NAME, "endpoint", "list", "-f", "json")
        listed = self.inside(str(self.root / "bin" / words[0]), *words[1:]).stdout
        urls = [each["URL"] for each in json.loads(listed) if each["Interface"] == "public"]
        assert len(urls) > 1
        return {url.partition("://")[2].partition(":")[0] for url in urls}

    def mentions(self, address: str) -> list[str]:
        found = run(["grep", "-rlF", address, str(self.root / "etc")], expect=None)
        return found.stdout.split()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made = Machine(Path(f"/var/lib/onestack-{NAME}"))
    run(["ip", "netns", "add", MACHINE])
    try:
        for line in (
            "ip link set lo up",
            "ip link add out type veth peer name sink",
            "ip link set sink arp off up",
            "ip link set out arp off up",
        ):
            made.inside(*line.split())
        made.has("2")
        made.onestack("up", *(word for answer in OFF for word in ("--set", answer)))
        yield made
    finally:
        made.onestack("destroy", "--yes", "--keep-cache", expect=None)
        run(["ip", "netns", "delete", MACHINE])


def test_up_goes_where_the_machine_is(machine: Machine) -> None:
    assert machine.public() == {"198.51.100.2"}
    machine.has("7", old="2")
    what = "the cloud is at 198.51.100.2, and is to be at 198.51.100.7"
    (told,) = [each for each in machine.doctor() if each["what"] == what]
    assert told["cure"] == "onestack up"
    assert what in machine.onestack("up").stderr
    assert machine.public() == {"198.51.100.7"}
    assert machine.mentions("198.51.100.2") == []
    assert ": 0 changes in" in machine.onestack("up").stdout
    assert [each for each in machine.doctor() if "is to be at" in each["what"]] == []


def test_another_way_out_for_a_while_moves_nothing(machine: Machine) -> None:
    for line in (
        "ip link add vpn type veth peer name office",
        "ip link set vpn arp off up",
        "ip link set office arp off up",
        "ip address add 10.8.0.2/24 dev vpn",
        "ip route delete default",
        "ip route add default via 10.8.0.1 dev vpn",
    ):
        machine.inside(*line.split())
    try:
        assert ": 0 changes in" in machine.onestack("up").stdout
        assert machine.public() == {"198.51.100.7"}
    finally:
        machine.inside("ip", "link", "delete", "vpn")
        machine.inside("ip", "route", "replace", "default", "via", "198.51.100.1", "dev", "out")


def test_a_network_that_is_away_for_a_moment_moves_nothing(machine: Machine) -> None:
    machine.inside("ip", "address", "flush", "dev", "out")
    refused = machine.onestack("up", expect=3)
    assert "the machine does not have 198.51.100.7 now, nor a way to anywhere" in refused.stderr
    machine.has("7")
    assert ": 0 changes in" in machine.onestack("up").stdout
    assert machine.public() == {"198.51.100.7"}


def test_an_address_that_was_answered_is_answered_anew(machine: Machine) -> None:
    machine.onestack("up", "--set", "CONFIG_CONTROLLER_HOST=198.51.100.7")
    machine.has("8", old="7")
    refused = machine.onestack("up", expect=3)
    words = "--set CONFIG_CONTROLLER_HOST=198.51.100.8"
    assert words in refused.stderr
    assert machine.onestack("up", *words.split()).returncode == 0
    assert machine.public() == {"198.51.100.8"}
    assert machine.mentions("198.51.100.7") == []
