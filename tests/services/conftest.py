"""One cloud with every service on, for all tests of services.

While working on one service: ``ONESTACK_TEST_NAME=heat`` gives the cloud
another name, ``ONESTACK_TEST_ANSWERS="KEY=VALUE …"`` takes the place of the
services' own answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.clouds import CloudUnderTest

COMMON = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    "CONFIG_ONESTACK_IMAGE=y",
)
SERVICES: tuple[str, ...] = (
    "CONFIG_HEAT_INSTALL=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_LBAAS_INSTALL=y",
    "CONFIG_HORIZON_INSTALL=y",
    "CONFIG_HEAT_CLOUDWATCH_INSTALL=y",
    "CONFIG_ONESTACK_METERING_INTERVAL=10",
    "CONFIG_NEUTRON_FWAAS=y",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
    # the first is a server of the test's own, the second is nobody
    "CONFIG_NTP_SERVERS=100.64.0.1,100.64.0.99",
)
"""What each service's test needs, a line each."""


@pytest.fixture(scope="session")
def cloud() -> Iterator[CloudUnderTest]:
    asked = os.environ.get("ONESTACK_TEST_ANSWERS")
    answers = tuple(asked.split()) if asked is not None else SERVICES
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "all"), answers=(*COMMON, *answers))
    with made.living(timeout=1200):
        yield made
