"""The demo, as packstack made it: somebody logs in, starts a server and reaches it from outside.

And what Tempest needs: its own tests run with the file that was written.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.release.environment import uv_program
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

TEMPEST = "tempest==47.0.0"
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

    def json(self, command: str) -> object:
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


def test_the_demo_is_there_and_made_once(demo: Demo) -> None:
    names = {network["Name"] for network in demo.json("network list")}  # type: ignore[index]
    assert names == {"public", "private"}
    (router,) = demo.json("router list")  # type: ignore[misc]
    assert (router["Name"], router["Status"]) == ("router1", "ACTIVE")
    subnet = demo.cloud.type("openstack subnet show public_subnet -f json")
    assert json.loads(subnet)["cidr"] == "172.24.4.0/24"
    assert "172.24.4.1/24" in demo.cloud.type("ip -4 address show dev br-ex")
    who = demo.json("token issue")
    project = demo.cloud.type("openstack project show demo -f value -c id").strip()
    assert who["project_id"] == project  # type: ignore[index]
    assert "0 changes" in demo.cloud.onestack("up", "--netns").stdout


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
    demo.address = address["floating_ip_address"]  # type: ignore[index]
    assert demo.address.startswith("172.24.4.")
    demo.type(f"openstack server add floating ip one {demo.address}")
    wait_until("ssh", lambda: demo.ssh("hostname").strip() == "one", 300, 3)
    # the outside answers it: the machine's own address there
    assert " 0% packet loss" in demo.ssh("ping -c 2 -W 5 172.24.4.1")


def test_its_guest_is_told_of_the_time_servers(demo: Demo) -> None:
    """It asks for option 42 as any guest's DHCP client may."""
    run_it = "sudo udhcpc -f -n -q -i eth0 -O ntpsrv -s /tmp/show"
    script = SHOW.replace("$", "\\$").replace('"', '\\"')
    said = demo.ssh(f'printf "%s" "{script}" >/tmp/show && chmod +x /tmp/show && {run_it}')
    assert "time servers: 100.64.0.1 100.64.0.99" in said


@pytest.fixture(scope="module")
def tempest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tempest from the package index, in an environment of its own."""
    place = tmp_path_factory.mktemp("tempest") / "environment"
    run([uv_program(), "venv", "--quiet", str(place)])
    python = str(place / "bin" / "python")
    run([uv_program(), "pip", "install", "--quiet", "-p", python, TEMPEST], timeout=600)
    return place


class TestTempest:
    def test_it_knows_every_option(self, cloud: CloudUnderTest, tempest: Path) -> None:
        file = cloud.root / "etc" / "tempest.conf"
        assert file.stat().st_mode & 0o777 == 0o600
        program = (
            "import json\nfrom tempest import config\n"
            "found = {}\nfor group, options in config.list_opts():\n"
            "    name = str(getattr(group, 'name', group) or 'DEFAULT')\n"
            "    found.setdefault(name, []).extend(option.dest for option in options)\n"
            "print(json.dumps(found))"
        )
        known = json.loads(run([str(tempest / "bin" / "python"), "-c", program]).stdout)
        written = configparser.RawConfigParser(default_section="")
        written.read(file)
        # oslo.log's and oslo.concurrency's own
        known.setdefault("DEFAULT", []).extend(["log_file", "use_stderr"])
        known["oslo_concurrency"] = ["lock_path"]
        strangers = [
            f"[{section}] {option}"
            for section in written.sections()
            for option in written[section]
            if option not in known.get(section, ())
        ]
        assert strangers == []

    def test_its_tests_pass(self, cloud: CloudUnderTest, tempest: Path) -> None:
        file = cloud.root / "etc" / "tempest.conf"
        work = tempest.parent / "work"
        # It writes a list of its workspaces there.
        home = f"export HOME={tempest.parent}"
        cloud.type(f"{home} && {tempest}/bin/tempest init {work}", timeout=120)
        wanted = "|".join(test.replace(".", "[.]") for test in TESTS)
        done = cloud.inside(
            f"{home} && cd {work} && {tempest}/bin/tempest run --config-file {file} "
            f"--concurrency 1 --regex '^({wanted})'",
            timeout=600,
            expect=None,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert " - Failed: 0" in done.stdout
        passed = int(done.stdout.rpartition(" - Passed:")[2].split()[0])
        assert passed >= len(TESTS)


def test_no_error_was_logged(cloud: CloudUnderTest, demo: Demo) -> None:
    ours = ("keystone", "glance", "neutron", "nova", "cinder-purge")
    assert unexpected([line for line in cloud.error_lines() if line.startswith(ours)]) == []
