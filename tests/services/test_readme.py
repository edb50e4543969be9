"""The README's ten lines, typed as printed in a cloud that has other projects too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import REPOSITORY, CloudUnderTest, run, wait_until
from tests.support.pages import commands

LINES = list(commands(REPOSITORY / "README.md", "The guide in ten lines"))
CLEANUP = (
    "openstack server delete --wait one",
    "openstack keypair delete key1",
    "openstack router unset --external-gateway outside",
    "openstack router remove subnet outside sub-int",
    "openstack router delete outside",
    "openstack network delete net-int",
    "openstack security group delete ssh",
)


@pytest.fixture
def home(cloud: CloudUnderTest, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / ".ssh").mkdir()
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / ".ssh/id_ed25519")])
    yield tmp_path
    for line in CLEANUP:
        cloud.type(line, expect=None, timeout=120)
    for address in json.loads(
        cloud.type("openstack floating ip list --network net-ext -f json", expect=None) or "[]"
    ):
        cloud.type(f"openstack floating ip delete {address['ID']}", expect=None)
    cloud.type("openstack network delete net-ext", expect=None)


def test_the_ten_lines(cloud: CloudUnderTest, home: Path) -> None:
    up, openrc, *lines = LINES
    assert up.startswith("./onestack up") and "admin-openrc" in openrc and len(lines) == 9
    for line in lines:
        cloud.type(f"export HOME={home}; {line}", timeout=300)
    (address,) = json.loads(cloud.type("openstack floating ip list --network net-ext -f json"))
    ssh = (
        f"ssh -i {home}/.ssh/id_ed25519 -o StrictHostKeyChecking=no -o BatchMode=yes "
        "-o UserKnownHostsFile=/dev/null -o ConnectTimeout=10 "
        f"cirros@{address['Floating IP Address']} hostname"
    )
    wait_until("ssh", lambda: "one" in cloud.type(ssh, expect=None), 200, 5)
