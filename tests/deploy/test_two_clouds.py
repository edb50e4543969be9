"""Two clouds at once on one machine: both of use, neither sees the other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.clouds import CloudUnderTest, table

pytestmark = pytest.mark.timeout(1200)

Clouds = tuple[CloudUnderTest, CloudUnderTest]


@pytest.fixture(scope="module")
def clouds() -> Iterator[Clouds]:
    # One of either layout: their switches, too, run side by side.
    made = (
        CloudUnderTest("a", answers=("CONFIG_NEUTRON_L2_AGENT=openvswitch",)),
        CloudUnderTest("b", answers=("CONFIG_NEUTRON_L2_AGENT=ovn",)),
    )
    try:
        for cloud in made:
            cloud.up()
        yield made
    finally:
        for cloud in made:
            cloud.destroy()


class TestTwoClouds:
    def test_each_is_of_use(self, clouds: Clouds) -> None:
        for cloud in clouds:
            network = table(cloud.type(f"openstack network create net-{cloud.name}"))
            assert network["status"] == "ACTIVE"
            cloud.type(f"openstack volume create --size 1 vol-{cloud.name}")
            cloud.need_volume(f"vol-{cloud.name}")

    def test_neither_has_what_the_other_has(self, clouds: Clouds) -> None:
        for cloud in clouds:
            for kind, prefix in (("network", "net"), ("volume", "vol")):
                listed = json.loads(cloud.type(f"openstack {kind} list -f json"))
                assert [one["Name"] for one in listed] == [f"{prefix}-{cloud.name}"]

    def test_names_and_devices_are_apart(self, clouds: Clouds) -> None:
        """Of a bridge that only one of them has, the other knows nothing."""
        for command in ("ovs-vsctl list-br", "ip -o link"):
            seen = {cloud.name: cloud.type(command) for cloud in clouds}
            assert "br-ex" in seen["a"] and "br-ex" in seen["b"]
            assert "br-tun" not in seen["b"]
        assert "br-tun" in clouds[0].type("ovs-vsctl list-br")
        host = {
            cloud.name: cloud.type("openstack compute service list -f value -c Binary")
            for cloud in clouds
        }
        assert (
            host["a"].split().count("nova-compute") == host["b"].split().count("nova-compute") == 1
        )

    def test_one_does_not_let_the_other_in(self, clouds: Clouds) -> None:
        """The same address and port in each is its own keystone, with its own passwords."""
        passwords = {cloud.secrets()["admin_keystone"] for cloud in clouds}
        assert len(passwords) == 2
        a, b = clouds
        done = a.inside(
            f"OS_PASSWORD='{b.secrets()['admin_keystone']}' openstack token issue 2>&1", expect=None
        )
        assert done.returncode != 0 and "401" in done.stdout

    def test_one_goes_the_other_stays(self, clouds: Clouds) -> None:
        a, b = clouds
        pids = {process["name"]: process["pid"] for process in b.status()}
        a.destroy()
        assert {process["name"]: process["pid"] for process in b.status()} == pids
        assert "net-b" in b.type("openstack network list")
        # what both had used of the host is still there
        b.onestack("restart", "libvirt", timeout=180)
        assert {process["state"] for process in b.status()} == {"READY"}
        assert ": 0 changes in" in b.up().stdout
