"""A controller and a compute, each a host of its own: it joins, and servers run on both.

The release and all packages must be there: hosts of namespaces have no way to mirrors.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.clouds import LAUNCHER, CommandFailed, run, wait_until
from tests.support.hosts import Hosts, TestHost, hosts
from tests.support.needs import needs_root

pytestmark = [needs_root, pytest.mark.timeout(3600)]
ROOT = Path("/var/lib/onestack-hosts/cloud")
CONTROLLERS_LOGS = ("supervisor", "door", "door-front", "nova-api", "neutron-api", "rabbitmq")
COMPUTES_LOGS = (
    *("supervisor", "passage", "nova-compute", "libvirtd", "ovn-controller", "neutron-ovn-agent"),
)
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
def ticket(controller: TestHost) -> tuple[str, str]:
    return token(controller)


@pytest.fixture(scope="module")
def compute(machines: Hosts, controller: TestHost, ticket: tuple[str, str]) -> TestHost:
    made = machines.host("web1")
    with telling(controller, made):
        made.onestack("join", *ticket)
    return made


def token(controller: TestHost) -> tuple[str, str]:
    """The door, and what one machine may join with."""
    _, _, door, made = controller.onestack("token", "create").split()
    return door, made


@contextmanager
def telling(controller: TestHost, compute: TestHost) -> Iterator[None]:
    """What fails says what both hosts logged last."""
    try:
        yield
    except AssertionError as error:
        texts = [str(error)]
        for host, names in ((controller, CONTROLLERS_LOGS), (compute, COMPUTES_LOGS)):
            logs = [f"{ROOT}/log/{name}.log" for name in names]
            texts.append(f"=== {host.name}\n" + host.run("tail", "-n", "40", *logs, expect=None))
        raise CommandFailed("\n".join(texts)) from error


def openstack(controller: TestHost, *words: str) -> str:
    shell = f". {ROOT}/etc/admin-openrc; exec {ROOT}/bin/openstack {shlex.join(words)}"
    return controller.run("/bin/sh", "-ec", shell)


def listed(controller: TestHost, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(openstack(controller, *words, "-f", "json"))
    return found


def start_server(controller: TestHost, host: TestHost) -> str:
    name = f"on-{host.name}"
    openstack(
        controller,
        *("server", "create", "--wait", "--image", "cirros", "--flavor", "m1.nano"),
        *("--network", "private", "--host", host.name),
        *("--os-compute-api-version", "2.74", name),
    )
    shown = json.loads(openstack(controller, "server", "show", "-f", "json", name))
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host.name)
    return name


def known_at(controller: TestHost, name: str) -> list[str]:
    """Where the controller still has something of a host."""
    services = listed(controller, "compute", "service", "list")
    agents = listed(controller, "network", "agent", "list")
    found = [s["Binary"] for s in services if s["Host"] == name]
    found += [a["Agent Type"] for a in agents if a["Host"] == name]
    users = listed(controller, "user", "list")
    found += [u["Name"] for u in users if u["Name"] == f"onestack-host-{name}"]
    rows = controller.run(
        *(f"{ROOT}/bin/ovn-sbctl", "--bare", "--columns=hostname", "list", "Chassis")
    )
    return found + [row for row in rows.split() if row == name]


def is_there(controller: TestHost) -> None:
    (one,) = json.loads(controller.onestack("host", "list", "--json"))
    assert (one["name"], one["admitted"]) == ("web1", True)
    services = listed(controller, "compute", "service", "list")
    up = {(s["Binary"], s["Host"]) for s in services if s["State"] == "up"}
    assert ("nova-compute", "web1") in up and ("nova-compute", "head") in up
    agents = listed(controller, "network", "agent", "list")
    assert {a["Host"] for a in agents if a["Alive"]} == {"head", "web1"}


def test_the_host_is_there(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        is_there(controller)


def test_joining_again_changes_nothing(
    controller: TestHost, compute: TestHost, ticket: tuple[str, str]
) -> None:
    before = controller.onestack("host", "list", "--json")
    with telling(controller, compute):
        assert ": 0 changes in " in compute.onestack("join", *ticket)
    assert controller.onestack("host", "list", "--json") == before


def test_servers_run_on_both(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        for host in (controller, compute):
            start_server(controller, host)


def test_the_compute_has_no_secret_of_the_controllers(
    controller: TestHost, compute: TestHost
) -> None:
    """In no file, of whatever kind."""
    kept = json.loads(controller.run("cat", f"{ROOT}/etc/secrets.json"))
    allowed = {kept["neutron_metadata"]}
    for value in {*kept.values()} - allowed:
        found = compute.run("grep", "-rlaF", "--", value, str(ROOT), expect=None)
        assert not found.strip(), found


def test_a_host_leaves_and_joins_again(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        openstack(controller, "server", "delete", "--wait", "on-web1")
        compute.onestack("leave", "--yes", "--keep-cache")
        assert json.loads(controller.onestack("host", "list", "--json")) == []
        # the controller's `up` goes on after it has let the host go
        wait_until(
            "nothing of the host is left", lambda: not known_at(controller, "web1"), 600, pause=5
        )
        compute.onestack("join", *token(controller))
        is_there(controller)
        start_server(controller, compute)


def test_a_removed_host_is_locked_out_at_once_and_may_join_again(
    controller: TestHost, compute: TestHost
) -> None:
    with telling(controller, compute):
        words = (str(LAUNCHER), "host", "remove", "--yes", "web1", "--root", str(ROOT))
        removed = run(controller.command(*words), timeout=1800)
        said = run(compute.command(str(LAUNCHER), "up", "--root", str(ROOT)), expect=None)
        assert said.returncode == 1 and "none of the cloud's any more" in said.stderr
        assert "Traceback" not in said.stderr
        # nova keeps what has servers, and that is said
        assert "nova has 1 server there" in removed.stderr
        assert known_at(controller, "web1") == ["nova-compute"]
        wait_until("nova takes the host for dead", lambda: is_down(controller, "web1"), 300)
        openstack(controller, "server", "delete", "--wait", "on-web1")
        controller.onestack("host", "remove", "--yes", "web1")
        assert known_at(controller, "web1") == []
        compute.onestack("leave", "--yes", "--keep-cache")
        compute.onestack("join", *token(controller))
        is_there(controller)
        start_server(controller, compute)


def is_down(controller: TestHost, name: str) -> bool:
    services = listed(controller, "compute", "service", "list")
    return {s["State"] for s in services if s["Host"] == name} == {"down"}
