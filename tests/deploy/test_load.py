"""Eight clients at once make and delete for ten minutes: nothing fails, sticks, or is left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, wait_until

pytestmark = pytest.mark.timeout(3600)
SCRIPT = Path(__file__).with_name("load.py")
CLIENTS = 8
PROJECTS = 4
SECONDS = int(os.environ.get("ONESTACK_TEST_SECONDS", "600"))
PASSWORD = "of-a-test"
PEOPLE = f"""set -e
for number in $(seq 0 {PROJECTS - 1}); do
    openstack project create load-$number
    openstack user create load-$number --password {PASSWORD}
    openstack role add --project load-$number --user load-$number member
done
truncate --size 1M /tmp/empty-{os.getpid()}
openstack image create load --disk-format raw --public --file /tmp/empty-{os.getpid()}
rm /tmp/empty-{os.getpid()}
openstack flavor create load --ram 64 --disk 1
"""
"""The image is a disk with nothing on it: a guest of it halts in its BIOS."""
LISTED = ("server list --all-projects", "volume list --all-projects", "network list", "port list")
SUBJECTS = ("security group list", "subnet list")


@pytest.fixture(scope="module", params=["ovn", "openvswitch"])
def cloud(request: pytest.FixtureRequest) -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", f"load{request.param[:3]}")
    layout = f"CONFIG_NEUTRON_L2_AGENT={request.param}"
    made = CloudUnderTest(name, answers=(layout, "CONFIG_CINDER_VOLUMES_SIZE=20G"))
    with made.living(timeout=1800):
        made.type(PEOPLE)
        yield made


def seen(cloud: CloudUnderTest) -> dict[str, list[str]]:
    """What there is, by ID, of all kinds that the clients make."""
    return {
        listed: sorted(cloud.type(f"openstack {listed} -f value -c ID").split())
        for listed in (*LISTED, *SUBJECTS)
    }


@pytest.fixture(scope="module")
def before(cloud: CloudUnderTest) -> dict[str, list[str]]:
    for number in range(PROJECTS):
        # The first look makes a project's default group.
        cloud.type(f"openstack security group list --project load-{number}")
    return seen(cloud)


@pytest.fixture(scope="module")
def done(
    cloud: CloudUnderTest, before: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    assert before
    env = dict(
        line.split("=", 1) for line in cloud.type("env").splitlines() if line.startswith("OS_")
    )
    names = [f"load-{number % PROJECTS}" for number in range(CLIENTS)]
    given = {
        "seconds": SECONDS,
        "image": cloud.type("openstack image show load -f value -c id").strip(),
        "flavor": cloud.type("openstack flavor show load -f value -c id").strip(),
        "clients": [
            {**env, "OS_USERNAME": n, "OS_PROJECT_NAME": n, "OS_PASSWORD": PASSWORD} for n in names
        ],
    }
    file = tmp_path_factory.mktemp("load") / "given.json"
    file.write_text(json.dumps(given))
    said = cloud.type(f"python3 {SCRIPT} {file}", timeout=SECONDS + 1200)
    found: dict[str, Any] = json.loads(said)
    print(found["rounds"], found["slowest"], f"load {os.getloadavg()[0]:.0f}")
    return found


def test_nothing_fails_or_sticks(done: dict[str, Any]) -> None:
    assert done["failures"] == []
    assert min(done["rounds"]) > 3


def test_nothing_is_left(
    cloud: CloudUnderTest, before: dict[str, list[str]], done: dict[str, Any]
) -> None:
    assert seen(cloud) == before
    wait_until("no guest to be left", lambda: not cloud.guests(), 60)
    assert cloud.sql("select consumer_id from placement.allocations") == []
    ports = cloud.type("ovs-vsctl list-ports br-int").split()
    assert [port for port in ports if port.startswith(("tap", "qvo", "vhu"))] == []


@pytest.mark.parametrize("number", range(PROJECTS))
def test_quotas_are_right(cloud: CloudUnderTest, done: dict[str, Any], number: int) -> None:
    used: dict[str, int] = {}
    for service in ("compute", "volume", "network"):
        text = cloud.type(f"openstack quota show --usage --{service} load-{number} -f json")
        for row in json.loads(text):
            used[row["Resource"]] = row["In Use"]
    assert used["instances"] == used["cores"] == used["ram"] == 0
    assert used["volumes"] == used["gigabytes"] == 0
    assert used["networks"] == used["subnets"] == used["ports"] == 0
    # each project's own default group
    assert used["security_groups"] == 1


def test_nothing_went_wrong(cloud: CloudUnderTest, done: dict[str, Any]) -> None:
    assert unexpected(cloud.error_lines()) == []
    cloud.onestack("doctor")
