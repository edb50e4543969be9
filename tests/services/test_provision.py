"""The demo, as packstack made it: somebody logs in, starts a server and reaches it from outside.

And what Tempest needs: its own tests run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.known_errors import unexpected
from tests.support import unheard
from tests.support.clouds import CloudUnderTest, run, wait_until

TESTS = (
    "tempest.api.identity.v3.test_tokens.TokensV3Test.test_validate_token",
    "tempest.api.image.v2.test_versions.VersionsTest.test_list_versions",
    "tempest.api.compute.flavors.test_flavors.FlavorsV2TestJSON.test_list_flavors_with_detail",
    "tempest.api.network.test_floating_ips.FloatingIPTestJSON."
    "test_create_floating_ip_specifying_a_fixed_ip_address",
)
SHOW = """#!/bin/sh
[ "$1" != bound ] || echo "time servers: $ntpsrv"
"""


class Demo:
    """The user demo at work."""

    def __init__(self, cloud: CloudUnderTest, place: Path) -> None:
        self.cloud = cloud
        self.key = place / "key"
        self.address = ""

    def type(self, command: str, **more: object) -> str:
        openrc = self.cloud.root / "etc" / "demo-openrc"
        return self.cloud.type(f". {openrc} && {command}", **more)

    def json(self, command: str) -> Any:
        return json.loads(self.type(f"openstack {command} -f json"))

    def ssh(self, command: str, timeout: float = 60) -> str:
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=10"
        return self.cloud.type(
            f"ssh -i {self.key} {options} -o BatchMode=yes cirros@{self.address} '{command}'",
            timeout=timeout,
        )


@pytest.fixture(scope="module")
def demo(cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(cloud, tmp_path_factory.mktemp("demo"))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.key)])
    try:
        yield made
    finally:
        made.type("openstack server delete --wait one", expect=None, timeout=120)
        made.type(f"openstack floating ip delete {made.address}", expect=None)
        made.type("openstack keypair delete mine", expect=None)
        made.type("openstack security group delete open", expect=None)


def test_a_project_without_a_network_gets_one_that_asks_for_any(demo: Demo) -> None:
    """As `openstack server create --nic auto` does."""
    try:
        made = demo.json("network auto allocated topology create --or-show")
        assert made["id"] in {network["ID"] for network in demo.json("network list")}
    finally:
        demo.type("openstack network auto allocated topology delete", expect=None)


def test_the_demo_is_there_and_made_once(demo: Demo) -> None:
    names = {network["Name"] for network in demo.json("network list")}
    assert names == {"public", "private"}
    (router,) = demo.json("router list")
    assert (router["Name"], router["Status"]) == ("router1", "ACTIVE")
    subnet = demo.cloud.type("openstack subnet show public_subnet -f json")
    assert json.loads(subnet)["cidr"] == "172.24.4.0/24"
    assert "172.24.4.1/24" in demo.cloud.type("ip -4 address show dev br-ex")
    who = demo.json("token issue")
    project = demo.cloud.type("openstack project show demo -f value -c id").strip()
    assert who["project_id"] == project
    assert ": 0 changes in" in demo.cloud.onestack("up", "--netns").stdout


def test_a_server_is_reached_by_its_floating_address(demo: Demo) -> None:
    demo.type(f"openstack keypair create --public-key {demo.key}.pub mine")
    demo.type(
        "openstack security group create open && "
        "openstack security group rule create --proto tcp --dst-port 22 open"
    )
    demo.type(
        "openstack server create --wait --flavor m1.nano --image cirros --network private "
        "--key-name mine --security-group open one",
        timeout=300,
    )
    address = demo.json("floating ip create public")
    demo.address = address["floating_ip_address"]
    assert demo.address.startswith("172.24.4.")
    demo.type(f"openstack server add floating ip one {demo.address}")
    wait_until("ssh", lambda: demo.ssh("hostname").strip() == "one", 300, 3)
    # the outside answers it: the machine's own address there
    assert " 0% packet loss" in demo.ssh("ping -c 2 -W 5 172.24.4.1")


def test_only_the_switch_hears_what_it_sends(demo: Demo) -> None:
    unheard.tried(demo.cloud, demo.ssh)


def test_user_data_arrives_byte_for_byte(demo: Demo) -> None:
    """Also such as is no text."""
    given = demo.key.with_name("data")
    given.write_bytes(bytes(range(256)) * 20)
    demo.type(
        "openstack server create --wait --flavor m1.nano --image cirros --network private "
        f"--key-name mine --security-group open --user-data {given} "
        "--property 'note=\N{GRINNING FACE}' two",
        timeout=300,
    )
    try:
        demo.type(f"openstack server remove floating ip one {demo.address}")
        demo.type(f"openstack server add floating ip two {demo.address}")
        wait_until("ssh", lambda: demo.ssh("hostname").strip() == "two", 300, 3)
        asked = "wget -q -O - http://169.254.169.254/openstack/latest/user_data | sha256sum"
        assert demo.ssh(asked).split()[0] == hashlib.sha256(given.read_bytes()).hexdigest()
        # of the other kind of address the machine's own resolver says what it likes, but at once
        found = demo.ssh("timeout 4 nslookup one; [ $? -le 1 ]")
        assert re.search(r"Name:\s+one\.openstack\.internal\s+Address: 10\.", found)
    finally:
        demo.type("openstack server delete --wait two", timeout=120)
        demo.type(f"openstack server add floating ip one {demo.address}", expect=None)


def test_a_server_gets_another_flavor_where_it_is(demo: Demo) -> None:
    def flavor() -> str:
        shown = demo.json("server show one")
        return str(shown["flavor"].get("original_name", shown["flavor"].get("name")))

    def state(wanted: str) -> None:
        wait_until(wanted, lambda: demo.json("server show one")["status"] == wanted, 120, 3)

    before = flavor()
    demo.type("openstack server resize --flavor m1.tiny --wait one", timeout=200)
    state("VERIFY_RESIZE")
    assert flavor() == "m1.tiny"
    demo.type("openstack server resize revert one")
    state("ACTIVE")
    assert flavor() == before
    demo.type("openstack server resize --flavor m1.tiny --wait one", timeout=200)
    demo.type("openstack server resize confirm one")
    state("ACTIVE")
    assert flavor() == "m1.tiny"
    wait_until("ssh", lambda: demo.ssh("hostname").strip() == "one", 300, 3)


def test_its_guest_is_told_of_the_time_servers(demo: Demo) -> None:
    """It asks for option 42 as any guest's DHCP client may."""
    run_it = "sudo udhcpc -f -n -q -i eth0 -O ntpsrv -s /tmp/show"
    script = SHOW.replace("$", "\\$").replace('"', '\\"')
    said = demo.ssh(f'printf "%s" "{script}" >/tmp/show && chmod +x /tmp/show && {run_it}')
    assert "time servers: 100.64.0.1 100.64.0.99" in said


def test_the_cloud_answers_as_its_users_ask(cloud: CloudUnderTest) -> None:
    assert " checks passed." in cloud.onestack("verify").stdout


def test_tempests_tests_pass(cloud: CloudUnderTest) -> None:
    """One of each service; all of them are in tests/tempest."""
    tests = " ".join(f"^{test}" for test in TESTS)
    done = cloud.onestack("verify", "--tempest", tests, "--json", timeout=900)
    counts = json.loads(done.stdout)["counts"]
    assert counts == {"passed": len(TESTS), "failed": 0, "skipped": 0}


def test_no_error_was_logged(cloud: CloudUnderTest, demo: Demo) -> None:
    ours = ("keystone", "glance", "neutron", "nova", "cinder-purge")
    assert unexpected([line for line in cloud.error_lines() if line.startswith(ours)]) == []
