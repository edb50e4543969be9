"""The machine's only NIC carries the cloud's networks too, seen from another machine on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.host import netns
from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(1500)
NIC, HERE, GATEWAY = "eno1", "192.0.2.5", "192.0.2.1"
ECHO = """
import socket
server = socket.create_server(("192.0.2.1", 7))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    while some := client.recv(100):
        client.sendall(some)
"""


class Lan:
    """Another machine, which is the gateway too, on the other end of `NIC`."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud, self.namespace = cloud, cloud.prefix
        self.router = ""
        self.machine = subprocess.Popen(["unshare", "--net", "sleep", "3000"])
        mine = os.stat("/proc/self/ns/net").st_ino
        there = f"/proc/{self.machine.pid}/ns/net"
        wait_until("a namespace", lambda: os.stat(there).st_ino != mine, 10, 0.1)
        # a veth has no offloads to trust where the switch is in userspace: onestack sees to it
        far = f"type veth peer name far netns {self.machine.pid}"
        run(["ip", "-n", self.namespace, "link", "add", NIC, *far.split()])
        for line in ("link set far up", f"address add {GATEWAY}/24 dev far"):
            self.type(f"ip {line}")
        for line in (
            f"link set {NIC} up",
            f"address add {HERE}/24 dev {NIC}",
            f"route add default via {GATEWAY} dev {NIC} metric 100",
        ):
            run(["ip", "-n", self.namespace, *line.split()])

    def type(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.machine.pid), "--net", "bash", "-c", command]
        return run(enter, **more)

    def reaches(self, address: str) -> bool:
        return self.type(f"ping -c1 -W1 {address}", expect=None).returncode == 0

    def has(self, device: str, address: str) -> bool:
        words = ["ip", "-n", self.namespace, "-j", "address", "show", "dev", device]
        shown = run(words, expect=None).stdout
        return any(a["local"] == address for d in json.loads(shown or "[]") for a in d["addr_info"])

    def end(self) -> None:
        self.machine.kill()
        self.machine.wait()


@pytest.fixture(scope="module", params=["openvswitch", "ovn"])
def lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    answers = (f"CONFIG_NEUTRON_L2_AGENT={request.param}", "CONFIG_ONESTACK_IMAGE=y")
    cloud = CloudUnderTest({"openvswitch": "nica", "ovn": "nicb"}[request.param], answers=answers)
    with cloud.living():
        made = Lan(cloud)
        try:
            yield made
        finally:
            made.end()


def nic(cloud: CloudUnderTest, what: str, *words: str, **more: Any) -> str:
    done = run([str(LAUNCHER), "nic", what, "--name", cloud.name, *words], **more)
    return done.stdout + done.stderr


class TestNic:
    def test_without_a_terminal_the_operator_says_so(self, lan: Lan) -> None:
        said = nic(lan.cloud, "attach", NIC, expect=2)
        assert "say --yes" in said and lan.has(NIC, HERE)

    def test_a_session_lives_through_the_move(self, lan: Lan) -> None:
        words = ["nsenter", "--target", str(lan.machine.pid), "--net", sys.executable, "-c", ECHO]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout and server.stdout.readline() == "ready\n"
            with netns.inside(lan.namespace):
                session = socket.create_connection((GATEWAY, 7), 10)
            session.settimeout(20)
            begun = time.monotonic()
            said = nic(lan.cloud, "attach", NIC, "--yes")
            print(f"\nattach took {time.monotonic() - begun:.1f} s\n{said}")
            session.sendall(b"still")
            assert session.recv(100) == b"still"
            session.close()
            server.kill()
        assert lan.has("br-eno1", HERE) and not lan.has(NIC, HERE)
        assert lan.reaches(HERE)
        assert lan.cloud.type("ovs-vsctl port-to-br to-br-ex-eno1").strip() == "br-ex"
        row = json.loads(nic(lan.cloud, "show", "--json"))[0]
        assert (row["nic"], row["bridge"], row["by"]) == (NIC, "br-ex", "br-eno1")
        assert (row["addresses"], row["gateways"]) == ([f"{HERE}/24"], [GATEWAY])
        assert (row["state"], row["finding"]) == ("in place", "")

    def test_twice_is_once_and_up_changes_nothing(self, lan: Lan) -> None:
        nic(lan.cloud, "attach", NIC, "--yes")
        assert ": 0 changes in" in lan.cloud.onestack("up", "--netns").stdout

    def test_a_guest_is_reached_from_another_machine(self, lan: Lan, tmp_path: Path) -> None:
        cloud = lan.cloud
        for line in (
            "network create net-ext --external --provider-network-type flat "
            "--provider-physical-network extnet",
            f"subnet create sub-ext --network net-ext --subnet-range 192.0.2.0/24 --no-dhcp "
            f"--gateway {GATEWAY} --allocation-pool start=192.0.2.100,end=192.0.2.120",
            "network create net-int",
            "subnet create sub-int --network net-int --subnet-range 192.168.10.0/24",
            "router create router1 --external-gateway net-ext",
            "router add subnet router1 sub-int",
            "security group create open",
            "security group rule create open --protocol icmp",
            "security group rule create open --protocol tcp --dst-port 22",
            "server create one --flavor m1.nano --image cirros --network net-int "
            "--security-group open",
        ):
            cloud.type(f"openstack {line}", timeout=120)
        address = cloud.type(
            "openstack floating ip create net-ext -f value -c floating_ip_address"
        ).strip()

        def active() -> bool:
            said = cloud.type("openstack server show one -f value -c status").strip()
            assert said != "ERROR", cloud.log_ends("nova")
            return said == "ACTIVE"

        wait_until("the server", active, 180, 3)
        cloud.type(f"openstack server add floating ip one {address}")
        wait_until("a ping from the other machine", lambda: lan.reaches(address), 240, 2)
        greeting = f"timeout 20 bash -c 'exec 3<>/dev/tcp/{address}/22; head -c 4 <&3'"
        wait_until(
            "its ssh server, from there",
            lambda: "SSH-" in lan.type(greeting, expect=None).stdout,
            120,
            3,
        )
        # and from this machine itself
        assert cloud.inside(f"ping -c1 -W2 {address}", expect=None).returncode == 0

    def test_with_the_cloud_down_the_machine_keeps_its_network(self, lan: Lan) -> None:
        assert reaches_any(lan)
        lan.cloud.onestack("down")
        assert not reaches_any(lan) and lan.reaches(HERE) and lan.has("br-eno1", HERE)
        lan.cloud.up()
        wait_until("the guests' router", lambda: reaches_any(lan), 60)

    def test_with_all_of_the_cloud_killed_too(self, lan: Lan) -> None:
        root = f"ONESTACK_SUPERVISED={lan.cloud.root}".encode()
        for _ in range(3):
            for place in Path("/proc").glob("[0-9]*/environ"):
                try:
                    if root in place.read_bytes().split(b"\0"):
                        os.kill(int(place.parent.name), signal.SIGKILL)
                except OSError:
                    continue
        assert lan.reaches(HERE)
        lan.cloud.up()
        wait_until("the guests' router", lambda: reaches_any(lan), 90)

    def test_one_that_is_not_where_it_is_to_be_is_found(self, lan: Lan) -> None:
        run(["ip", "-n", lan.namespace, "link", "set", "br-ex-eno1", "nomaster"])
        # the keeper puts it back
        wait_until("the guests' router", lambda: reaches_any(lan), 30)
        lan.cloud.type("ovs-vsctl del-port to-br-ex-eno1")
        doctor = lan.cloud.onestack("doctor", expect=1).stdout
        assert "eno1 is to be in br-ex, and is not" in doctor
        assert "onestack restart openvswitch/external-bridge" in doctor
        assert "not in place" in nic(lan.cloud, "show", expect=1)
        lan.cloud.onestack("restart", "openvswitch/external-bridge")
        wait_until("the guests' router", lambda: reaches_any(lan), 60)

    def test_given_back(self, lan: Lan) -> None:
        nic(lan.cloud, "detach", NIC, "--yes")
        assert lan.has(NIC, HERE) and lan.reaches(HERE) and not reaches_any(lan)
        devices = run(["ip", "-n", lan.namespace, "-o", "link"]).stdout
        assert "br-eno1" not in devices and "br-ex-eno1" not in devices
        assert ": 0 changes in" in lan.cloud.onestack("up", "--netns").stdout
        said = nic(lan.cloud, "detach", NIC, "--yes", expect=1)
        assert "is in no bridge of the cloud" in said

    def test_up_does_it_by_its_answer_alone_and_gives_back_what_is_not_named(
        self, lan: Lan
    ) -> None:
        said = lan.cloud.onestack(
            "up", "--netns", "--set", "CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:eno1", timeout=300
        )
        assert lan.has("br-eno1", HERE) and lan.reaches(HERE), said.stdout
        wait_until("the guests' router", lambda: reaches_any(lan), 60)
        lan.cloud.onestack(
            "up", "--netns", "--set", "CONFIG_NEUTRON_OVS_BRIDGE_IFACES=", timeout=300
        )
        assert lan.has(NIC, HERE) and lan.reaches(HERE) and not reaches_any(lan)


def reaches_any(lan: Lan) -> bool:
    """The leg of the router on the wire."""
    if not lan.router:
        said = lan.cloud.type("openstack router show router1 -f json -c external_gateway_info")
        (there,) = json.loads(said)["external_gateway_info"]["external_fixed_ips"]
        lan.router = there["ip_address"]
    return lan.reaches(lan.router)
