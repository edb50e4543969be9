"""Upstream's own tests of data processing's API."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest
from tests.support.upstreams import all_pass

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_SAHARA_INSTALL=y",
    "CONFIG_ONESTACK_SAHARA_FAKE=y",
    # Some are of data and programs that lie there.
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
)
API = "sahara_tempest_plugin.tests.api"
LEAST = 45
"""Without those of S3, and of version 2 of the API, which skip themselves."""
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "hadoop") + "tp", answers=ANSWERS)
    with made.living(timeout=1800):
        yield made


def test_all_pass(cloud: CloudUnderTest) -> None:
    all_pass(cloud, API, 3000, LEAST)


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
