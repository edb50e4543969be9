"""External networks with Open vSwitch's agents, in a small cloud of its own.

Guests on one are reached from the machine, and a router's leg to a VLAN goes by the agent's tags.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clouds import CloudUnderTest, wait_until

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_NEUTRON_ML2_VLAN_RANGES=extnet:1:99",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", "ext") + "ovs"
    with (made := CloudUnderTest(name, answers=ANSWERS)).living(timeout=1200):
        yield made


def shown(cloud: CloudUnderTest, command: str) -> Any:
    return json.loads(cloud.type(f"openstack {command} -f json", timeout=300))


def test_a_guest_on_the_external_network_is_reached(cloud: CloudUnderTest) -> None:
    """As the guide makes the network."""
    cloud.type(
        "openstack network create net-ext --external --share --provider-network-type local && "
        "openstack subnet create sub-ext --network net-ext --subnet-range 10.50.14.0/24 "
        "--gateway 10.50.14.1 --allocation-pool start=10.50.14.51,end=10.50.14.59"
    )
    cloud.type(
        "openstack security group create open && "
        "openstack security group rule create open --protocol icmp"
    )
    server = shown(
        cloud,
        "server create --wait --flavor m1.nano --image cirros --network net-ext "
        "--security-group open one",
    )
    (address,) = server["addresses"]["net-ext"]
    wait_until("an answer", lambda: answers(cloud, address), 200, 3)


def answers(cloud: CloudUnderTest, address: str) -> bool:
    return " 0% packet loss" in cloud.type(f"ping -c 1 -W 2 {address}", expect=None)


def test_another_network_takes_nothing_from_its_guest(cloud: CloudUnderTest) -> None:
    """Its DHCP's port is wired, and is not led out."""
    cloud.type(
        "openstack network create net-more --external --provider-network-type local && "
        "openstack subnet create sub-more --network net-more --subnet-range 198.51.100.0/24"
    )
    assert shown(cloud, "network show net-more")["provider:physical_network"] is None
    dhcp = "openstack port list --network net-more --device-owner network:dhcp -f value -c Status"
    wait_until("DHCP's port", lambda: "ACTIVE" in cloud.type(dhcp, timeout=300), 120)
    (address,) = shown(cloud, "server show one")["addresses"]["net-ext"]
    assert answers(cloud, address)
    said = cloud.inside(
        "openstack network create net-flat --external --provider-network-type flat "
        "--provider-physical-network extnet",
        expect=1,
    )
    assert "of type vlan" in said.stdout + said.stderr
    said = cloud.inside("openstack network set --internal net-ext", expect=1)
    assert "once they are deleted" in said.stdout + said.stderr
    cloud.type("openstack network delete net-more")
    assert answers(cloud, address)


def test_the_leg_to_a_vlan_has_its_tag(cloud: CloudUnderTest) -> None:
    cloud.type(
        "openstack network create two --external --provider-network-type vlan "
        "--provider-physical-network extnet --provider-segment 7 && "
        "openstack subnet create sub-two --network two --subnet-range 203.0.113.0/24 --no-dhcp"
    )
    for name, network in (("straight", "net-ext"), ("tagged", "two")):
        cloud.type(
            f"openstack router create {name} && "
            f"openstack router set {name} --external-gateway {network}"
        )

    def leg(name: str) -> str:
        (port,) = shown(cloud, f"port list --router {name} --device-owner network:router_gateway")
        return f"qg-{port['ID'][:11]}"

    def ports(bridge: str) -> set[str]:
        return set(cloud.type(f"ovs-vsctl list-ports {bridge}").split())

    straight, tagged = leg("straight"), leg("tagged")
    wait_until("both legs", lambda: straight in ports("br-ex") and tagged in ports("br-int"), 60)
    assert tagged not in ports("br-ex") and straight not in ports("br-int")

    def translated() -> bool:
        tag = cloud.type(f"ovs-vsctl get port {tagged} tag").strip()
        flows = cloud.type("ovs-ofctl dump-flows br-ex")
        return bool(re.search(rf"dl_vlan={tag}\b.*mod_vlan_vid:7\b", flows))

    wait_until("its tag on the way out", translated, 60)


def test_what_one_hosts_agents_cannot_do_is_refused(cloud: CloudUnderTest) -> None:
    for option in ("--ha", "--distributed"):
        said = cloud.inside(f"openstack router create {option} r", expect=1)
        assert "Unrecognized attribute" in said.stdout + said.stderr
