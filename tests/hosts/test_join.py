"""A controller and a compute, each a host of its own: it joins, and servers run on both.

The release and all packages must be there: hosts of namespaces have no way to mirrors.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import LAUNCHER, CommandFailed, run
from tests.support.hosts import Hosts, TestHost, hosts
from tests.support.needs import needs_root

pytestmark = [needs_root, pytest.mark.timeout(3600)]
ROOT = Path("/var/lib/onestack-hosts/cloud")
ANSWERS = {
    "CONFIG_ONESTACK_JOIN": "y",
    "CONFIG_NEUTRON_L2_AGENT": "ovn",
    "CONFIG_ONESTACK_IMAGE": "y",
    "CONFIG_PROVISION_DEMO": "y",
    "CONFIG_CINDER_VOLUMES_SIZE": "1G",
}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts"), ROOT) as made:
        yield made


@pytest.fixture(scope="module")
def controller(machines: Hosts) -> TestHost:
    made = machines.host("head")
    made.onestack("up", *(w for k, v in ANSWERS.items() for w in ("--set", f"{k}={v}")))
    return made


@pytest.fixture(scope="module")
def compute(machines: Hosts, controller: TestHost) -> TestHost:
    made = machines.host("web1")
    _, _, door, token = controller.onestack("token", "create").split()
    made.onestack("join", door, token)
    return made


def openstack(controller: TestHost, *words: str) -> str:
    shell = f". {ROOT}/etc/admin-openrc; exec {ROOT}/bin/openstack {shlex.join(words)}"
    return controller.run("/bin/sh", "-ec", shell)


def test_the_host_is_there(controller: TestHost, compute: TestHost) -> None:
    (listed,) = json.loads(controller.onestack("host", "list", "--json"))
    assert (listed["name"], listed["admitted"]) == ("web1", True)
    services = json.loads(openstack(controller, "compute", "service", "list", "-f", "json"))
    up = {(s["Binary"], s["Host"]) for s in services if s["State"] == "up"}
    assert ("nova-compute", "web1") in up and ("nova-compute", "head") in up
    agents = json.loads(openstack(controller, "network", "agent", "list", "-f", "json"))
    assert {a["Host"] for a in agents if a["Alive"]} == {"head", "web1"}


def test_joining_again_changes_nothing(controller: TestHost, compute: TestHost) -> None:
    assert "0 changes" in compute.onestack("up")


def test_servers_run_on_both(controller: TestHost, compute: TestHost) -> None:
    for host in (controller, compute):
        try:
            openstack(
                controller,
                *("server", "create", "--wait", "--image", "cirros", "--flavor", "m1.nano"),
                *("--network", "private", "--host", host.name),
                *("--os-compute-api-version", "2.74", f"on-{host.name}"),
            )
        except CommandFailed as error:
            logs = (f"{ROOT}/log/supervisor.log", f"{ROOT}/log/nova-compute.log")
            log = host.run("tail", "-n", "40", *logs)
            raise CommandFailed(f"{error}\n{log}") from error
    for host in (controller, compute):
        shown = json.loads(openstack(controller, "server", "show", "-f", "json", f"on-{host.name}"))
        assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host.name)


def test_the_compute_has_no_secret_of_the_controllers(
    controller: TestHost, compute: TestHost
) -> None:
    kept = json.loads(controller.run("cat", f"{ROOT}/etc/secrets.json"))
    allowed = {kept["neutron_metadata"]}
    for value in {*kept.values()} - allowed:
        found = compute.run("grep", "-rlF", "--", value, f"{ROOT}/etc", expect=None)
        assert not found.strip(), found


def test_a_removed_host_is_locked_out_at_once(controller: TestHost, compute: TestHost) -> None:
    controller.onestack("host", "remove", "--yes", "web1")
    said = run(compute.command(str(LAUNCHER), "up", "--root", str(ROOT)), expect=None)
    assert said.returncode == 1 and "none of the cloud's any more" in said.stderr
    assert "Traceback" not in said.stderr
