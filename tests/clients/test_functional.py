"""Upstream's functional tests: of openstacksdk, and of `openstack` command by command.

Python programs and Ansible are made of the first, people type the second.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients import suites
from tests.support.clouds import CloudUnderTest

HOURS = 2.0
pytestmark = pytest.mark.timeout(HOURS * 3600 + 1800)
SERVICES = {
    "openstack": (
        *("block_storage", "compute", "identity", "image", "key_manager"),
        *("network", "object_store", "orchestration", "placement", "cloud"),
    ),
    "openstackclient": ("common", "compute", "identity", "image", "network", "object", "volume"),
}
LEAST = {"openstack": 200, "openstackclient": 100}
"""Tests that pass at least: those that skip themselves say nothing."""
UPSTREAMS = {
    r"key_manager.*\.test_container_acl$": "openstacksdk asks with a whole URL in an id's place",
    r"\.test_cleanup_key_manager$": "the same: `project cleanup` leaves secrets there",
    r"key_manager.*\.test_secret_acl$": "it expects nothing of a call that answers a resource",
    r"key_manager.*\.test_secret_store$": "Barbican has one store of secrets, and no list of them",
    r"placement.*\.test_usage$": "of a project without servers it makes one usage of nothing",
    r"TestSegment\.test_(find|get|list|update)$": "it reads an id that it never sets",
    r"TestServiceProvider\.test_list$": "it expects the agents' where l3-ha is; OVN has that, too",
}
"""What fails on every cloud of this kind, by the test's name; each does, or has to go from here."""
SKIPS = (
    r"(BGP Dynamic Routing|BGPVPN|SFC|Tap-as-a-service|Tap Mirror|Local IP|Network Segment Range|"
    r"L3 ndp proxy|L3 conntrack helper) [Ee]xtension disabled",
    # These are off; distributed routers have no name of their own with OVN.
    r"(fwaas_v2|dvr|vpnaas|dns|DNS|Container|VPNaaS).* (not supported by cloud|not available)",
    # its version 2, and the name of then
    r"(block-storage|volume) service not supported by cloud",
    r"Volume functional tests temporarily disabled",
    # of an API that is gone, and for a bug of the client's
    r"No Identity v2 admin endpoint|story 2010110",
    # a member asks for them
    r"No agents available",
)
"""Reasons of those that skip themselves."""


@pytest.mark.parametrize("package", SERVICES)
def test_all_pass(cloud: CloudUnderTest, clouds_yaml: Path, package: str) -> None:
    packages = " ".join(f"{package}.tests.functional.{name}" for name in SERVICES[package])
    found = suites.run(cloud, clouds_yaml, packages, HOURS)
    assert len([one for one in found if one.outcome == "passed"]) > LEAST[package]
    failed = [one.test for one in found if one.outcome == "failed"]
    known = {name for name in UPSTREAMS if any(re.search(name, test) for test in failed)}
    assert known == (set(UPSTREAMS) if package == "openstack" else set())
    unknown = [
        one
        for one in found
        if not any(re.search(name, one.test) for name in known)
        and not (one.outcome == "skipped" and any(re.search(why, one.reason) for why in SKIPS))
    ]
    assert suites.not_passed(unknown) == {}
