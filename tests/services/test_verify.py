"""`verify --end-to-end` on a cloud with every service: once through, stopped, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clouds import LAUNCHER, CloudUnderTest, wait_until

NAME = "onestack-verify"
pytestmark = pytest.mark.timeout(2400)
LONG = 900.0
LISTS = (
    *("project list", "user list", "flavor list --all", "image list", "server list --all-projects"),
    *("volume list --all-projects", "network list", "router list", "floating ip list"),
    *("port list", "security group list"),
)


def contents(cloud: CloudUnderTest) -> dict[str, set[str]]:
    """Ids of all that there is, by the command that lists it.

    But for the security group that neutron makes for the services' project once one of them asks.
    """
    service = cloud.type("openstack project show service -f value -c id").strip()
    found = {}
    for words in LISTS:
        told = json.loads(cloud.type(f"openstack {words} -f json"))
        own = {("default", service)}
        found[words] = {i["ID"] for i in told if (i.get("Name"), i.get("Project")) not in own}
    return found


@pytest.fixture
def begun(cloud: CloudUnderTest, tmp_path: Path) -> Callable[[str], tuple[int, Path]]:
    """Starts it, and returns the process once it has said something; its output is a file."""

    def begin(until: str) -> tuple[int, Path]:
        said = tmp_path / "said"
        with said.open("w") as output:
            started = subprocess.Popen(
                [LAUNCHER, "verify", "--name", cloud.name, "--end-to-end"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(until, lambda: until in said.read_text(), LONG, 0.2)
        pid = int((cloud.root / "run" / "up.lock").read_text().split()[0])
        assert started.pid in (pid, os.getpgid(pid))
        return pid, said

    return begin


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_from_a_token_to_a_server_that_is_reached(cloud: CloudUnderTest) -> None:
    before = contents(cloud)
    done = cloud.onestack("verify", "--end-to-end", "--json", timeout=LONG, expect=None)
    answer = json.loads(done.stdout)
    checks = {check["what"]: check for check in answer["checks"]}
    assert [check for check in checks.values() if check["ok"] is not True] == []
    assert done.returncode == 0 and answer["well"] is True
    for what in ("ssh to the server", "a floating IP", "an object", "a stack"):
        assert what in checks
    assert checks["the volume in the server"]["said"] == "seen as vdb"
    assert contents(cloud) == before
    for project_less in ("stack list --all-projects", "keypair list"):
        told = cloud.type(f"openstack {project_less} -f value", expect=None)
        assert NAME not in told
    assert not (cloud.root / "run" / "verify").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_stopped_it_removes_what_it_has_made(
    cloud: CloudUnderTest, begun: Callable[[str], tuple[int, Path]], number: signal.Signals
) -> None:
    before = contents(cloud)
    pid, said = begun("a router to the outside")
    os.kill(pid, number)
    wait_until("it to end", lambda: gone(pid), LONG)
    assert "all of it removed" in said.read_text()
    assert contents(cloud) == before


def test_killed_it_is_cleaned_up_after_by_the_next(
    cloud: CloudUnderTest, begun: Callable[[str], tuple[int, Path]]
) -> None:
    before = contents(cloud)
    pid, _ = begun("a server")
    os.kill(pid, signal.SIGKILL)
    wait_until("it to be gone", lambda: gone(pid), 60)
    assert NAME in cloud.type("openstack project list -f value -c Name").split()
    assert (cloud.root / "run" / "verify" / "key").exists()
    said = cloud.onestack("verify", "--clean", timeout=LONG).stdout
    assert "removing what a trial from end to end has left" in said
    assert contents(cloud) == before
    assert "Nothing is left" in cloud.onestack("verify", "--clean", timeout=LONG).stdout


def test_where_nothing_starts_it_is_said(cloud: CloudUnderTest) -> None:
    """Nova takes no server: the rest goes on, and nothing stays."""
    before = contents(cloud)
    services = json.loads(cloud.type("openstack compute service list -f json"))
    host = next(s["Host"] for s in services if s["Binary"] == "nova-compute")
    cloud.type(f"openstack compute service set --disable {host} nova-compute")
    try:
        done = cloud.onestack("verify", "--end-to-end", timeout=LONG, expect=1)
    finally:
        cloud.type(f"openstack compute service set --enable {host} nova-compute")
    lines = done.stdout.splitlines()
    failed = next(n for n, line in enumerate(lines) if line.startswith("FAILED"))
    assert "a server: the server is ERROR" in lines[failed]
    assert "why:" in lines[failed + 1] and "No valid host" in lines[failed + 1]
    assert any("cure:" in line for line in lines)
    assert any(line.startswith("ok") and "an object" in line for line in lines)
    assert contents(cloud) == before
