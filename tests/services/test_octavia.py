"""Load balancers: two servers behind one address, one of which fails and comes back."""

from __future__ import annotations

import collections
import functools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

SSH = (
    "ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o ConnectTimeout=5 -o LogLevel=ERROR cirros@{address} '{command}'"
)
# User data is run at the first boot only; what init keeps running is there after a restart too.
LISTENER = """#!/bin/sh
echo "::respawn:/bin/busybox nc -ll -p 80 -e echo {name}" >> /etc/inittab
kill -HUP 1
"""
SERVERS = ("lb-one", "lb-two")
BALANCER = "lb-test"


class Balancer:
    """The cloud, and what the sitting has made."""

    def __init__(self, cloud: CloudUnderTest, work: Path) -> None:
        self.cloud = cloud
        self.key = work / "key"
        self.work = work
        self.vip = ""
        self.addresses: dict[str, str] = {}
        """Floating IPs, of the balancer and of the servers."""

    def value(self, command: str, column: str) -> str:
        return self.cloud.type(f"openstack {command} -f value -c {column}").strip()

    def answers(self, address: str, times: int = 12) -> collections.Counter[str]:
        """Who answered, and how often, from the machine's side."""
        ask = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/80; head -1 <&3' 2>/dev/null"
        text = self.cloud.type(f"for i in $(seq {times}); do {ask} || echo nobody; done")
        return collections.Counter(text.split())

    def answers_in(self, server: str, address: str, times: int = 12) -> collections.Counter[str]:
        """The same from within a server."""
        ask = f"nc -w 3 {address} 80 </dev/null 2>/dev/null || echo nobody"
        command = f"for i in $(seq {times}); do {ask}; done"
        line = SSH.format(key=self.key, address=self.addresses[server], command=command)
        return collections.Counter(self.cloud.type(line, timeout=120).split())

    def members(self) -> dict[str, str]:
        """Name to operating status."""
        listed = self.cloud.type("openstack loadbalancer member list lb-pool -f json")
        return {one["name"]: one["operating_status"] for one in json.loads(listed)}

    def serves(self, name: str) -> bool:
        return self.value(f"server show {name}", "status") == "ACTIVE"

    def settled(self, status: str = "ACTIVE") -> None:
        """The client's own ``--wait`` looks every ten seconds."""
        wait_until(
            f"the balancer {status}",
            lambda: self.value(f"loadbalancer show {BALANCER}", "provisioning_status") == status,
            60,
            0.2,
        )


@pytest.fixture(scope="module")
def balancer(cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    made = Balancer(cloud, tmp_path_factory.mktemp("lb"))
    yield made
    if os.environ.get("ONESTACK_TEST_KEEP_LB"):  # to look at what failed
        return
    gone = (
        f"loadbalancer delete --cascade --wait {BALANCER}",
        *(f"server delete --wait {name}" for name in SERVERS),
        *(f"floating ip delete {address}" for address in made.addresses.values()),
        "router remove subnet lb-router lb-sub",
        "router delete lb-router",
        "network delete lb-net",
        "network delete lb-ext",
        "security group delete lb-group",
        "keypair delete lb-key",
        "user delete lb-member lb-nobody",
        "project delete lb-project",
    )
    for command in gone:
        cloud.inside(f"openstack {command}", expect=None)


def test_two_servers(balancer: Balancer) -> None:
    cloud, key = balancer.cloud, balancer.key
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    cloud.type(
        "set -e; "
        "openstack network create lb-ext --external --provider-network-type local; "
        "openstack subnet create lb-ext-sub --network lb-ext --subnet-range 10.50.14.0/24 "
        "--allocation-pool start=10.50.14.61,end=10.50.14.69 --no-dhcp; "
        "openstack network create lb-net; "
        "openstack subnet create lb-sub --network lb-net --subnet-range 192.168.61.0/24; "
        "openstack router create lb-router --external-gateway lb-ext; "
        "openstack router add subnet lb-router lb-sub; "
        "openstack security group create lb-group; "
        "openstack security group rule create lb-group --protocol tcp --dst-port 80; "
        "openstack security group rule create lb-group --protocol tcp --dst-port 22; "
        f"openstack keypair create lb-key --public-key {key}.pub"
    )
    for name in SERVERS:
        data = balancer.work / name
        data.write_text(LISTENER.format(name=name))
        cloud.type(
            f"openstack server create {name} --flavor m1.nano --image cirros --network lb-net "
            f"--security-group lb-group --key-name lb-key --user-data {data}"
        )


def test_a_balancer(balancer: Balancer) -> None:
    """A TCP balancer by OVN, made while the servers boot."""
    cloud = balancer.cloud
    made = json.loads(
        cloud.type(f"openstack loadbalancer create --name {BALANCER} --vip-subnet lb-sub -f json")
    )
    assert made["provider"] == "ovn"
    balancer.vip = made["vip_address"]
    balancer.settled()
    cloud.type(
        f"openstack loadbalancer listener create {BALANCER} --name lb-listener "
        "--protocol TCP --protocol-port 80"
    )
    balancer.settled()
    cloud.type(
        "openstack loadbalancer pool create --name lb-pool --listener lb-listener "
        "--protocol TCP --lb-algorithm SOURCE_IP_PORT"
    )
    balancer.settled()
    for name in SERVERS:
        wait_until(
            f"the server {name}",
            functools.partial(balancer.serves, name),
            180,
        )
        port = balancer.value(f"port list --server {name}", "ID")
        fixed = json.loads(cloud.type(f"openstack port show {port} -f json -c fixed_ips"))
        address = fixed["fixed_ips"][0]["ip_address"]
        cloud.type(
            f"openstack loadbalancer member create lb-pool --name {name} --address {address} "
            "--protocol-port 80 --subnet-id lb-sub"
        )
        balancer.settled()
        balancer.addresses[name] = balancer.value(
            f"floating ip create lb-ext --port {port}", "floating_ip_address"
        )
    port = balancer.value(f"loadbalancer show {BALANCER}", "vip_port_id")
    balancer.addresses[BALANCER] = balancer.value(
        f"floating ip create lb-ext --port {port}", "floating_ip_address"
    )
    cloud.type(
        "openstack loadbalancer healthmonitor create lb-pool --name lb-monitor --type TCP "
        "--delay 3 --timeout 3 --max-retries 2 --max-retries-down 2"
    )
    balancer.settled()


def test_both_answer(balancer: Balancer) -> None:
    """From outside by the floating IP, from a server by any of the addresses."""
    online = dict.fromkeys(SERVERS, "ONLINE")
    wait_until("both servers online", lambda: balancer.members() == online, 240, 2)
    outside = balancer.addresses[BALANCER]
    assert set(balancer.answers(outside)) == set(SERVERS)
    # The server is a member itself, and on the balancer's own network.
    for address in (balancer.vip, outside):
        assert set(balancer.answers_in("lb-one", address)) == set(SERVERS), address
    # From one floating IP to another, past a balancer on both ends' network.
    assert balancer.answers_in("lb-one", balancer.addresses["lb-two"], 3) == {"lb-two": 3}


def test_a_server_fails_and_comes_back(balancer: Balancer) -> None:
    cloud, outside = balancer.cloud, balancer.addresses[BALANCER]
    cloud.type("openstack server stop lb-two")
    failed = {"lb-one": "ONLINE", "lb-two": "ERROR"}
    wait_until("the monitor's notice", lambda: balancer.members() == failed, 120)
    assert balancer.answers(outside) == {"lb-one": 12}
    assert balancer.value(f"loadbalancer show {BALANCER}", "operating_status") == "DEGRADED"
    cloud.type("openstack server start lb-two")
    online = dict.fromkeys(SERVERS, "ONLINE")
    wait_until("the server's return", lambda: balancer.members() == online, 240, 2)
    assert set(balancer.answers(outside)) == set(SERVERS)
    assert balancer.value(f"loadbalancer show {BALANCER}", "operating_status") == "ONLINE"


def test_a_restart_leaves_traffic_alone(balancer: Balancer) -> None:
    """Killed, the service comes back; OVN goes on without it, and the monitor's word arrives."""
    cloud, outside = balancer.cloud, balancer.addresses[BALANCER]

    def process() -> dict[str, object]:
        return next(p for p in cloud.status() if p["name"] == "octavia-api")

    pid = process()["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    assert set(balancer.answers(outside)) == set(SERVERS)
    wait_until(
        "octavia again", lambda: process()["state"] == "READY" and process()["pid"] != pid, 120
    )
    assert balancer.members() == dict.fromkeys(SERVERS, "ONLINE")


def test_what_was_interrupted_can_be_deleted(balancer: Balancer) -> None:
    """A change that its process did not live to finish holds nothing up for ever."""
    cloud = balancer.cloud

    def process() -> dict[str, object]:
        return next(p for p in cloud.status() if p["name"] == "octavia-api")

    # As a process leaves it that is killed between its answer and its work.
    pid = process()["pid"]
    assert isinstance(pid, int)
    # By id: deleted ones of the same name are remembered for a week.
    ids = {
        "load_balancer": balancer.value(f"loadbalancer show {BALANCER}", "id"),
        "member": balancer.value("loadbalancer member show lb-pool lb-two", "id"),
    }
    for table, status in (("load_balancer", "PENDING_UPDATE"), ("member", "PENDING_CREATE")):
        cloud.sql(
            f"UPDATE octavia.{table} SET provisioning_status = '{status}' WHERE id = '{ids[table]}'"
        )
    refused = cloud.inside("openstack loadbalancer member delete lb-pool lb-two", expect=None)
    assert refused.returncode != 0 and "immutable" in refused.stderr
    os.kill(pid, signal.SIGKILL)
    wait_until(
        "octavia again", lambda: process()["state"] == "READY" and process()["pid"] != pid, 120
    )
    balancer.settled()
    assert balancer.value("loadbalancer member show lb-pool lb-two", "provisioning_status") == (
        "ERROR"
    )
    cloud.type("openstack loadbalancer member delete lb-pool lb-two")
    balancer.settled()
    assert set(balancer.members()) == {"lb-one"}
    assert balancer.answers(balancer.addresses[BALANCER]) == {"lb-one": 12}


def test_who_may(balancer: Balancer) -> None:
    """A member of a project may use balancers; with a role of Octavia's own, also others may."""
    cloud = balancer.cloud
    cloud.type(
        "set -e; openstack project create lb-project; "
        "openstack user create lb-member --password of-a-test; "
        "openstack user create lb-nobody --password of-a-test; "
        "openstack role add --project lb-project --user lb-member member; "
        "openstack role add --project lb-project --user lb-nobody load-balancer_quota_admin"
    )

    def as_user(name: str, command: str) -> str:
        line = (
            f"OS_USERNAME={name} OS_PASSWORD=of-a-test OS_PROJECT_NAME=lb-project "
            f"openstack {command}"
        )
        done = cloud.inside(line, expect=None)
        return done.stdout.strip() if done.returncode == 0 else f"refused: {done.stderr}"

    assert as_user("lb-member", "loadbalancer list -f value -c name") == ""
    assert "403" in as_user("lb-nobody", "loadbalancer list -f value -c name")
    assert "load_balancer" in as_user("lb-nobody", "loadbalancer quota list -f json") or (
        as_user("lb-nobody", "loadbalancer quota list -f json") == "[]"
    )


def test_all_of_it_goes(balancer: Balancer) -> None:
    cloud = balancer.cloud
    cloud.type(f"openstack loadbalancer delete --cascade {BALANCER}")
    wait_until(
        "the balancer's end",
        lambda: BALANCER not in cloud.type("openstack loadbalancer list -f value -c name").split(),
        60,
    )
    for kind in ("listener", "pool", "healthmonitor"):
        assert cloud.type(f"openstack loadbalancer {kind} list -f value").strip() == ""
    wait_until(
        "the ports' end",
        lambda: "ovn-lb-" not in cloud.type("openstack port list -f value -c Name"),
        30,
    )
    assert balancer.vip not in cloud.type("ovn-nbctl lb-list")
    assert cloud.type("ovn-sbctl --bare --columns=ip list service_monitor").strip() == ""


def test_logs_are_clean(balancer: Balancer) -> None:
    wrong = unexpected(balancer.cloud.error_lines())
    assert [line for line in wrong if line.startswith("octavia")] == []
