"""Eight clients at once make and delete for ten minutes: nothing fails, sticks, or is left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import busy
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest

pytestmark = pytest.mark.timeout(3600)
SCRIPT = Path(__file__).with_name("load.py")
CLIENTS = 8
PROJECTS = 4
SECONDS = int(os.environ.get("ONESTACK_TEST_SECONDS", "600"))


@pytest.fixture(scope="module", params=["ovn", "openvswitch"])
def cloud(request: pytest.FixtureRequest) -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", f"load{request.param[:3]}")
    layout = f"CONFIG_NEUTRON_L2_AGENT={request.param}"
    made = CloudUnderTest(name, answers=(layout, "CONFIG_CINDER_VOLUMES_SIZE=20G"))
    with made.living(timeout=1800):
        busy.prepare(made, PROJECTS)
        yield made


@pytest.fixture(scope="module")
def before(cloud: CloudUnderTest) -> dict[str, list[str]]:
    return busy.seen(cloud)


@pytest.fixture(scope="module")
def done(
    cloud: CloudUnderTest, before: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    assert before
    given = busy.given(cloud, CLIENTS, PROJECTS, seconds=SECONDS)
    file = tmp_path_factory.mktemp("load") / "given.json"
    file.write_text(json.dumps(given))
    said = cloud.type(f"python3 {SCRIPT} {file}", timeout=SECONDS + 1200)
    found: dict[str, Any] = json.loads(said)
    print(found["rounds"], found["slowest"], f"load {os.getloadavg()[0]:.0f}")
    return found


def test_nothing_fails_or_sticks(done: dict[str, Any]) -> None:
    assert done["failures"] == []
    assert min(done["rounds"]) > 3


def test_nothing_is_left(
    cloud: CloudUnderTest, before: dict[str, list[str]], done: dict[str, Any]
) -> None:
    assert busy.seen(cloud) == before
    busy.check_nothing_left(cloud)


@pytest.mark.parametrize("number", range(PROJECTS))
def test_quotas_are_right(cloud: CloudUnderTest, done: dict[str, Any], number: int) -> None:
    busy.check_quotas(cloud, f"load-{number}")


def test_nothing_went_wrong(cloud: CloudUnderTest, done: dict[str, Any]) -> None:
    assert unexpected(cloud.error_lines()) == []
    cloud.onestack("doctor")
