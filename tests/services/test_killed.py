"""`up` is killed in each step of what the notes switch on; the next one goes on from there."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import notes
from tests.support.clouds import LAUNCHER, CloudUnderTest

pytestmark = pytest.mark.timeout(3600)
NAME = os.environ.get("ONESTACK_TEST_NAME", "killed")
ROOMS = ("octavia", "sahara", "trove")
PAUSES = (0.0, 0.1, 0.4)
"""Seconds after a step's begin, in turn: most take less than one."""
NAMED = (
    *("network list", "subnet list", "image list", "flavor list --all"),
    *("user list", "role list", "service list", "project list"),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(NAME, answer_file=notes.FILE)
    try:
        yield made
    finally:
        made.destroy()


def rooms(step: str) -> bool:
    """Whether a step is one of these rooms': `database:trove`, `process:octavia-api`."""
    return bool({part.split("-")[0] for part in step.split(":")} & set(ROOMS))


def killed(cloud: CloudUnderTest, before: list[str]) -> str | None:
    """The step at whose beginning it was killed, none of those ``before``; or nothing: it ended."""
    words = [str(LAUNCHER), "up", "--name", cloud.name, "--json", *cloud.up_words()]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    said: list[str] = []
    try:
        for text in process.stdout:
            said.append(text)
            event = json.loads(text) if text.startswith("{") else {}
            step = event.get("path", [""])[0]
            if event.get("kind") == "started" and rooms(step) and step not in before:
                time.sleep(PAUSES[len(before) % len(PAUSES)])
                return str(step)
        assert process.wait() == 0, "".join(said[-40:])
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_in_each_step(cloud: CloudUnderTest) -> None:
    before: list[str] = []
    while step := killed(cloud, before):
        before.append(step)
        # Now and then the whole cloud goes with it, as when the power is cut.
        if len(before) % 4 == 0:
            cloud.power_cut()
    kinds = {step.split(":")[0] for step in before}
    assert kinds >= {"files", "database", "identity", "process", *ROOMS}, before
    print(f"killed in {len(before)} steps")


def test_it_is_whole(cloud: CloudUnderTest) -> None:
    assert {process["state"] for process in cloud.status()} == {"READY"}
    assert ": 0 changes in" in cloud.up(timeout=1800).stdout
    # What services logged while they were killed is theirs to log; its exit code is of findings.
    cloud.onestack("doctor")


@pytest.mark.parametrize("listed", NAMED)
def test_nothing_is_there_twice(cloud: CloudUnderTest, listed: str) -> None:
    names = cloud.type(f"openstack {listed} -f value -c Name").splitlines()
    assert names
    assert [name for name, times in collections.Counter(names).items() if times > 1] == []


def test_each_answers(cloud: CloudUnderTest) -> None:
    datastores = cloud.type("openstack datastore list -f value -c Name").split()
    assert sorted(datastores) == ["mariadb", "postgresql"]
    assert "spark" in cloud.type("openstack dataprocessing plugin list -f value -c Name")
    assert "amphora" in cloud.type("openstack loadbalancer provider list -f value -c name")
