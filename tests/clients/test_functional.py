"""Upstream's functional tests: of openstacksdk, and of `openstack` command by command.

Python programs and Ansible are made of the first, people type the second.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import suites
from tests.support.clouds import CloudUnderTest

HOURS = 2.0
pytestmark = pytest.mark.timeout(HOURS * 3600 + 1800)
SERVICES = {
    "openstack": (
        *("block_storage", "compute", "identity", "image", "key_manager"),
        *("network", "object_store", "orchestration", "placement", "cloud", "examples"),
    ),
    "openstackclient": ("common", "compute", "identity", "image", "network", "object", "volume"),
}
LEAST = {"openstack": 200, "openstackclient": 100}
"""Tests that pass at least: those that skip themselves say nothing."""


@pytest.mark.parametrize("package", SERVICES)
def test_all_pass(cloud: CloudUnderTest, clouds_yaml: Path, package: str) -> None:
    packages = " ".join(f"{package}.tests.functional.{name}" for name in SERVICES[package])
    found = suites.run(cloud, clouds_yaml, packages, HOURS)
    assert suites.not_passed(found) == {}
    assert len([one for one in found if one.outcome == "passed"]) > LEAST[package]
