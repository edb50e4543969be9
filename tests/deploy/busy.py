"""Clients that make and delete (`load`): their projects, and what is there of what they make."""

from __future__ import annotations

import json
import os
from typing import Any, Protocol

from tests.support.clouds import CloudUnderTest, wait_until

PASSWORD = "of-a-test"
PEOPLE = """set -e
for number in $(seq 0 {last}); do
    openstack project create load-$number
    openstack user create load-$number --password {password}
    openstack role add --project load-$number --user load-$number member
done
truncate --size 1M /tmp/empty-{here}
openstack image create load --disk-format raw --public --file /tmp/empty-{here}
rm /tmp/empty-{here}
openstack flavor create load --ram 64 --disk 1
"""
"""The image is a disk with nothing on it: a guest of it halts in its BIOS."""
PATIENCE = 450
"""Seconds: a request that was lost is given up after five minutes, and the next look."""
LISTED = (
    *("server list --all-projects", "volume list --all-projects"),
    *("volume snapshot list --all-projects", "network list", "port list"),
    *("security group list", "subnet list"),
)


class Typed(Protocol):
    """Whoever types lines as the administrator of a cloud."""

    def type(self, command: str, /) -> str: ...


def prepare(cloud: Typed, projects: int) -> None:
    """So many projects, each with a user of its name; an image, and a flavor."""
    cloud.type(PEOPLE.format(last=projects - 1, password=PASSWORD, here=os.getpid()))
    for number in range(projects):
        # The first look makes a project's default group.
        cloud.type(f"openstack security group list --project load-{number}")


def given(cloud: Typed, clients: int, projects: int, **more: Any) -> dict[str, Any]:
    """What `load` wants to be told, of so many clients, project after project."""
    env = dict(
        line.split("=", 1) for line in cloud.type("env").splitlines() if line.startswith("OS_")
    )
    names = [f"load-{number % projects}" for number in range(clients)]
    return {
        "image": cloud.type("openstack image show load -f value -c id").strip(),
        "flavor": cloud.type("openstack flavor show load -f value -c id").strip(),
        "clients": [
            {**env, "OS_USERNAME": n, "OS_PROJECT_NAME": n, "OS_PASSWORD": PASSWORD} for n in names
        ],
        "patience": PATIENCE,
        **more,
    }


def seen(cloud: Typed) -> dict[str, list[str]]:
    """What there is, by ID, of all kinds that the clients make."""
    return {
        listed: sorted(cloud.type(f"openstack {listed} -f value -c ID").split())
        for listed in LISTED
    }


def check_nothing_left(cloud: CloudUnderTest) -> None:
    """Below what the APIs tell: no guest, no disk, no device, no allocation."""
    wait_until("no guest to be left", lambda: not cloud.guests(), 60)
    assert cloud.sql("select consumer_id from placement.allocations") == []
    ports = cloud.type("ovs-vsctl list-ports br-int").split()
    assert [port for port in ports if port.startswith(("tap", "qvo", "vhu"))] == []
    disks = (cloud.root / "data" / "nova" / "instances").iterdir()
    assert [disk.name for disk in disks if disk.name.count("-") == 4] == []
    files = (cloud.root / "data").glob("**/volume-*")
    assert [str(file) for file in files] == []


def check_quotas(cloud: CloudUnderTest, project: str) -> None:
    """What has gone is not counted any more."""
    used: dict[str, int] = {}
    for service in ("compute", "volume", "network"):
        text = cloud.type(f"openstack quota show --usage --{service} {project} -f json")
        for row in json.loads(text):
            used[row["Resource"]] = row["In Use"]
    assert used["instances"] == used["cores"] == used["ram"] == 0
    assert used["volumes"] == used["gigabytes"] == used["snapshots"] == 0
    assert used["networks"] == used["subnets"] == used["ports"] == 0
    # each project's own default group
    assert used["security_groups"] == 1
