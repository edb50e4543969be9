"""python-openstackclient's functional tests: `openstack`, command by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import suites
from tests.support.clouds import CloudUnderTest

HOURS = 2.0
pytestmark = pytest.mark.timeout(HOURS * 3600 + 1800)
SERVICES = ("common", "compute", "identity", "image", "network", "object", "volume")
KNOWN: dict[str, str] = {}


def test_all_pass(cloud: CloudUnderTest, clouds_yaml: Path) -> None:
    packages = " ".join(f"openstackclient.tests.functional.{name}" for name in SERVICES)
    found = suites.run(cloud, clouds_yaml, packages, HOURS)
    assert suites.unexpected(found, KNOWN) == {}
    assert len([one for one in found if one.outcome == "passed"]) > 100
