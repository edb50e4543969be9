"""openstacksdk's functional tests: what Python programs, Ansible and the clients are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import suites
from tests.support.clouds import CloudUnderTest

HOURS = 2.0
pytestmark = pytest.mark.timeout(HOURS * 3600 + 1800)
SERVICES = (
    *("block_storage", "compute", "identity", "image", "key_manager", "load_balancer"),
    *("network", "object_store", "orchestration", "placement", "cloud", "examples"),
)
KNOWN: dict[str, str] = {}


def test_all_pass(cloud: CloudUnderTest, clouds_yaml: Path) -> None:
    packages = " ".join(f"openstack.tests.functional.{name}" for name in SERVICES)
    found = suites.run(cloud, clouds_yaml, packages, HOURS)
    assert suites.unexpected(found, KNOWN) == {}
    assert len([one for one in found if one.outcome == "passed"]) > 200
