"""FWaaS with Open vSwitch's agents, in a small cloud of its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest

from tests.support import firewalls, unheard
from tests.support.clouds import CloudUnderTest, wait_until

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_NEUTRON_FWAAS=y",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_ONESTACK_IMAGE=y",
)
ONE_LINE_A_SECOND = "while echo x; do sleep 1; done | nc 10.61.2.10 2222"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[firewalls.Networks]:
    asked = os.environ.get("ONESTACK_TEST_ANSWERS", "").split()
    cloud = CloudUnderTest(
        os.environ.get("ONESTACK_TEST_NAME", "fw") + "ovs", answers=(*ANSWERS, *asked)
    )
    cloud.up(timeout=1200)
    made = firewalls.Networks(cloud, tmp_path_factory.mktemp("fwaas"), stateful=True)
    made.make()
    made.await_guests()
    yield made
    if not os.environ.get("ONESTACK_TEST_KEEP"):
        cloud.destroy()


def test_only_the_switch_hears_what_a_guest_sends(networks: firewalls.Networks) -> None:
    unheard.tried(networks.cloud, functools.partial(networks.inside, "a"))


def test_what_groups_stop(networks: firewalls.Networks) -> None:
    firewalls.tried(networks)


def test_a_connection_ends_with_what_allowed_it(networks: firewalls.Networks) -> None:
    """And goes on when it is allowed again before it has given up."""

    def heard() -> int:
        return int(networks.inside("a", "wc -l </tmp/heard") or 0)

    networks.rule("fw-echo", "--protocol tcp --destination-port 2222 --action allow")
    networks.openstack("firewall group policy add rule fw-in fw-echo")
    networks.inside("b", "(nc -ll -p 2222 -e cat </dev/null >/dev/null 2>&1 &)")
    networks.inside("a", f"({ONE_LINE_A_SECOND}) >/tmp/heard 2>&1 </dev/null &")
    wait_until("lines come back", lambda: heard() > 3, 60)
    networks.openstack("firewall group policy remove rule fw-in fw-echo")

    def silent() -> bool:
        before = heard()
        networks.inside("a", "sleep 4")
        return heard() == before

    wait_until("nothing comes back", silent, 60)
    stopped = heard()
    networks.openstack("firewall group policy add rule fw-in fw-echo")
    wait_until("lines come back again", lambda: heard() > stopped, 90)
    networks.openstack("firewall group policy remove rule fw-in fw-echo")


def test_two_ports_of_one_group(networks: firewalls.Networks) -> None:
    """The one that comes later does not free the one before, nor the one that leaves."""
    networks.openstack(f"firewall group set --port {networks.ports['a']} fw1")
    networks.await_status("fw1", "ACTIVE")
    # ssh from a would have to be allowed to leave a
    networks.await_passing({"ping"})
    networks.openstack(f"firewall group unset --port {networks.ports['a']} fw1")
    networks.await_status("fw1", "ACTIVE")
    networks.await_passing({"ping", "22"})
    networks.await_passing({"ping"}, "b", "a")


def test_switched_off_and_on(networks: firewalls.Networks) -> None:
    firewalls.switched(networks)


def test_what_was_stopped_passes_again(networks: firewalls.Networks) -> None:
    firewalls.lifted(networks)
    assert networks.unexpected() == []
