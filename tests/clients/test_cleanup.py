"""`openstack project cleanup`, what people end a throw-away project with.

With OVN it has to be typed twice: openstacksdk takes the port of a network's metadata
(`network:distributed`) for a user's as long as it has found anything else to delete.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.suites import NOBODY
from tests.support.clouds import CloudUnderTest, wait_until

pytestmark = pytest.mark.timeout(1800)
MADE = """set -e
openstack network create clean-net
openstack subnet create clean-subnet --network clean-net --subnet-range 192.168.78.0/24
openstack router create clean-router --external-gateway public
openstack router add subnet clean-router clean-subnet
openstack security group create clean-group
openstack server create clean-server --image {image} --flavor {flavor} --network clean-net --wait
openstack floating ip create public
openstack volume create clean-volume --size 1
openstack volume snapshot create clean-snapshot --volume clean-volume
openstack container create clean-container
openstack stack create clean-stack -t {template} --wait
"""
LISTED = (
    *("server list", "volume list", "volume snapshot list", "router list", "floating ip list"),
    *("container list", "stack list"),
)


def test_nothing_is_left(cloud: CloudUnderTest, clouds_yaml: Path) -> None:
    functional = json.loads(clouds_yaml.read_text())["functional"]
    template = Path(__file__).with_name("stack.yaml")
    member = f"{NOBODY}; export OS_CLIENT_CONFIG_FILE={clouds_yaml} OS_CLOUD=devstack-alt; "
    made = MADE.format(
        image=functional["image_name"], flavor=functional["flavor_name"], template=template
    )
    cloud.type(member + made, timeout=900)
    for _ in range(2):
        cloud.type(f"{member} openstack project cleanup --auth-project --auto-approve", timeout=900)

    def left() -> str:
        return "".join(
            cloud.type(f"{member} openstack {listed} -f value").strip() for listed in LISTED
        )

    wait_until("nothing to be left", lambda: not left(), 120, 3)
    assert "clean-" not in cloud.type(f"{member} openstack network list -f value -c Name")
