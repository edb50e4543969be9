"""Upstream's own tests of data processing: its API, and its client, which makes a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_SAHARA_INSTALL=y",
    "CONFIG_ONESTACK_SAHARA_FAKE=y",
    # Upstream's tests of the client take its being there for granted.
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
)
API, CLIENT = "sahara_tempest_plugin.tests.api", "sahara_tempest_plugin.tests.clients"
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "hadoop") + "tp", answers=ANSWERS)
    with made.living(timeout=1800):
        yield made


@pytest.mark.parametrize(("tests", "least"), [(API, 50), (CLIENT, 10)])
def test_all_pass(cloud: CloudUnderTest, tests: str, least: int) -> None:
    done = cloud.onestack("verify", "--tempest", tests, "--json", timeout=3000, expect=None)
    found = json.loads(done.stdout)
    assert found["counts"]["failed"] == 0 and found["counts"]["passed"] >= least, done.stdout


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
