"""Upstream's own tests of databases in guests: made, changed, backed up, restored, replicated.

Without KVM each of them waits for guests to boot, for minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest
from tests.support.upstreams import all_pass

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_TROVE_INSTALL=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_CINDER_VOLUMES_SIZE=20G",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)
SCENARIOS = os.environ.get("ONESTACK_TEST_SCENARIOS", "trove_tempest_plugin")
"""Some of them by a regular expression."""
HOURS = 6 * 3600
pytestmark = pytest.mark.timeout(HOURS + 1800)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "db") + "ts", answers=ANSWERS)
    with made.living(timeout=1800):
        yield made


def test_all_pass(cloud: CloudUnderTest) -> None:
    all_pass(cloud, SCENARIOS, HOURS, 1)


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
