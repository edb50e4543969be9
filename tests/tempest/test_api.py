"""Upstream's API tests, of Tempest and of the plugins of what is on, for one layout.

Hours: `make test-conformance`. ONESTACK_TEST_AGENT=openvswitch is for the other layout;
ONESTACK_TEST_NAME and ONESTACK_TEST_KEEP are as for the tests of services. What came of it is
put into docs/conformance.md by `bench/conformance`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from onestack.components.tempest import skips
from onestack.components.tempest.inside.results import SKIPPED, Verdict
from tests.support.clouds import REPOSITORY, CloudUnderTest

AGENT = os.environ.get("ONESTACK_TEST_AGENT", "ovn")
HOURS = 12 * 3600
pytestmark = pytest.mark.timeout(HOURS + 3600)


@pytest.fixture(scope="module")
def answer() -> Iterator[dict[str, Any]]:
    answers = (
        f"CONFIG_NEUTRON_L2_AGENT={AGENT}",
        "CONFIG_PROVISION_TEMPEST=y",
        "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    )
    name = os.environ.get("ONESTACK_TEST_NAME", "api")
    file = REPOSITORY / "examples" / "everything.answers"
    cloud = CloudUnderTest(name, answer_file=file, answers=answers)
    with cloud.living(timeout=1800):
        done = cloud.onestack(
            *("verify", "--tempest", "api", "--json"), timeout=float(HOURS), expect=None
        )
        yield json.loads(done.stdout)


def test_none_fails(answer: dict[str, Any]) -> None:
    failed = {t["name"]: t["reason"] for t in answer["tests"] if t["outcome"] == "failed"}
    assert failed == {}
    assert answer["counts"]["passed"] > 1500


def test_each_reason_to_skip_is_listed(answer: dict[str, Any]) -> None:
    tests = [Verdict(**test) for test in answer["tests"] if test["outcome"] == SKIPPED]
    assert [group for group in skips.grouped(tests) if not group.why] == []
