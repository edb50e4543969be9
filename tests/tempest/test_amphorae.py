"""Upstream's own tests of balancers that are guests: traffic through each kind of them.

Without KVM each of some twenty classes waits for an amphora and two servers to boot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest
from tests.support.upstreams import all_pass

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_LBAAS_INSTALL=y",
    "CONFIG_ONESTACK_BARBICAN_INSTALL=y",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)
SCENARIOS = os.environ.get("ONESTACK_TEST_SCENARIOS", "octavia_tempest_plugin.tests.scenario")
"""Some of them by a regular expression."""
HOURS = 6 * 3600
pytestmark = pytest.mark.timeout(HOURS + 1800)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "lb") + "ts", answers=ANSWERS)
    with made.living(timeout=1800):
        yield made


def test_all_pass(cloud: CloudUnderTest) -> None:
    all_pass(cloud, SCENARIOS, HOURS, 1)


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
