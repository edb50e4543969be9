"""Upstream's own tests of the load balancers' API, as upstream's gate takes them.

All is as it is for a user but the last step of the worker: it makes no guests. Booting one
for each of some five hundred balancers would take days. Those with guests are scenarios.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest
from tests.support.upstreams import all_pass

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_LBAAS_INSTALL=y",
    # Certificates can be asked for; of what is stored there nothing is read here.
    "CONFIG_ONESTACK_BARBICAN_INSTALL=y",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
)
WITHOUT_GUESTS = """
[controller_worker]
amphora_driver = amphora_noop_driver
compute_driver = compute_noop_driver
network_driver = network_noop_driver
[certificates]
cert_manager = noop_cert_manager
"""
TESTED_SO = """
[load_balancer]
test_with_noop = True
"""
NOTES = Path("/tmp/octavia-network-noop.db")
"""Where upstream writes down what ports there would be, by whichever user it runs as."""
API = "octavia_tempest_plugin.tests.api"
LEAST = 475
"""The others want an algorithm that amphorae do not have, or wait for upstream's bugs."""
HOURS = 3 * 3600
pytestmark = pytest.mark.timeout(HOURS + 1800)


def more(file: Path, options: str) -> None:
    """Of two options by one name the later one counts."""
    with file.open("a") as opened:
        opened.write(options)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "lb") + "tp", answers=ANSWERS)
    with made.living(timeout=1800):
        more(made.root / "etc/octavia/octavia.conf", WITHOUT_GUESTS)
        more(made.root / "etc/tempest.conf", TESTED_SO)
        NOTES.unlink(missing_ok=True)
        made.onestack("restart", "octavia-api", timeout=120)
        yield made
    NOTES.unlink(missing_ok=True)


def test_all_pass(cloud: CloudUnderTest) -> None:
    all_pass(cloud, API, HOURS, LEAST)


def test_nothing_else_went_wrong(cloud: CloudUnderTest) -> None:
    assert unexpected(cloud.error_lines()) == []
