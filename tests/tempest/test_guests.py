"""Upstream's own tests of services whose things are guests: balancers, and databases.

Without KVM each of some twenty classes waits for guests to boot, for minutes. `-k` chooses a
service.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest
from tests.support.upstreams import all_pass

ANSWERS = (
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)
SERVICES = {
    "octavia_tempest_plugin.tests.scenario": (
        "CONFIG_NEUTRON_L2_AGENT=openvswitch",
        "CONFIG_LBAAS_INSTALL=y",
        "CONFIG_ONESTACK_BARBICAN_INSTALL=y",
        "CONFIG_CINDER_INSTALL=n",
    ),
    "trove_tempest_plugin": (
        "CONFIG_NEUTRON_L2_AGENT=ovn",
        "CONFIG_TROVE_INSTALL=y",
        "CONFIG_SWIFT_INSTALL=y",
        "CONFIG_CINDER_VOLUMES_SIZE=20G",
    ),
}
OUTSIDE = "2001:db8:0:1::1"
"""The machine's address by IPv6 on the public network; guests' networks are of `INSIDE`."""
INSIDE = "fd00:77::/56"
BY_IPV6 = f"""set -e
openstack subnet create outside-v6 --network public --ip-version 6 --no-dhcp \\
    --subnet-range {OUTSIDE}/64 --gateway {OUTSIDE}
openstack subnet pool create shared-default-subnetpool-v6 --share \\
    --pool-prefix {INSIDE} --default-prefix-length 64
openstack router unset router1 --external-gateway
openstack router set router1 --external-gateway public
ip -6 address add {OUTSIDE}/64 dev br-ex nodad
"""
"""As upstream's own machine has it, whose names these are: balancers have no floating IP by IPv6,
and tests that ask them by one need a way to their networks."""
CHOSEN = os.environ.get("ONESTACK_TEST_SCENARIOS", "")
"""Some of a service's tests by a regular expression."""
HOURS = 6 * 3600
pytestmark = pytest.mark.timeout(HOURS + 1800)


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cloud(service: str) -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", service[:2]) + "ts"
    made = CloudUnderTest(name, answers=(*ANSWERS, *SERVICES[service]))
    with made.living(timeout=1800):
        if "octavia" in service:
            way_by_ipv6(made)
        yield made


def way_by_ipv6(cloud: CloudUnderTest) -> None:
    cloud.type(BY_IPV6)
    router = json.loads(cloud.type("openstack router show router1 -f json"))
    addresses = [one["ip_address"] for one in router["external_gateway_info"]["external_fixed_ips"]]
    (outer,) = [address for address in addresses if ":" in address]
    cloud.type(f"ip -6 route add {INSIDE} via {outer}")


def test_all_pass(cloud: CloudUnderTest, service: str) -> None:
    all_pass(cloud, CHOSEN or service, HOURS, 1)


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
