"""One cloud with every service on, for all tests of services.

While working on one service: ``ONESTACK_TEST_NAME=heat`` gives the cloud
another name, ``ONESTACK_TEST_ANSWERS="KEY=VALUE …"`` takes the place of
``examples/everything.answers``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.clouds import REPOSITORY, CloudUnderTest

EVERYTHING = REPOSITORY / "examples" / "everything.answers"
COMMON = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    "CONFIG_ONESTACK_IMAGE=y",
)
"""What every test needs."""
MORE = (
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_PROVISION_TEMPEST=y",
    # the first is a server of the test's own, the second is nobody
    "CONFIG_NTP_SERVERS=100.64.0.1,100.64.0.99",
    # nobody waits a minute for a measure
    "CONFIG_ONESTACK_METERING_INTERVAL=10",
)
"""What single ones need, beside what the file has."""


@pytest.fixture(scope="session")
def cloud() -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", "all")
    asked = os.environ.get("ONESTACK_TEST_ANSWERS")
    if asked is None:
        made = CloudUnderTest(name, answer_file=EVERYTHING, answers=(*COMMON, *MORE))
    else:
        made = CloudUnderTest(name, answers=(*COMMON, *asked.split()))
    with made.living(timeout=1200):
        yield made
