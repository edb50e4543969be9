"""Processes that are killed at random, and power that is cut, while four clients are at work.

Each time the cloud is whole again by itself, or by the `up` of a boot. Afterwards nothing is
stuck, lost or left: what was under way has come to its end, or failed and says why.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import busy
from tests.support.clouds import LAUNCHER, CloudUnderTest, wait_until

pytestmark = pytest.mark.timeout(3 * 3600)
SCRIPT = Path(__file__).with_name("load_on.py")
CLIENTS = 4
KILLS = int(os.environ.get("ONESTACK_TEST_KILLS", "200"))
CUTS = int(os.environ.get("ONESTACK_TEST_CUTS", "20"))
SEED = os.environ.get("ONESTACK_TEST_SEED", str(time.time_ns()))
WHOLE = 180
"""Seconds within which all processes are ready again."""
FAULTS = ("stuck", "unexplained", "left")


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", "kills")
    made = CloudUnderTest(name, answers=("CONFIG_CINDER_VOLUMES_SIZE=20G",))
    with made.living(timeout=1800):
        busy.prepare(made, CLIENTS)
        yield made


@pytest.fixture(scope="module")
def before(cloud: CloudUnderTest) -> dict[str, list[str]]:
    return busy.seen(cloud)


@pytest.fixture
def chance() -> random.Random:
    print(f"ONESTACK_TEST_SEED={SEED}")
    return random.Random(SEED)


@contextlib.contextmanager
def clients(cloud: CloudUnderTest, place: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """At work until what they are given back as is called; that is what they say at their end."""
    file, sign = place / "given.json", place / "go-on"
    sign.touch()
    given = busy.given(cloud, CLIENTS, CLIENTS, **{"while": str(sign)})
    file.write_text(json.dumps(given))
    words = [str(LAUNCHER), "shell", "--name", cloud.name, "--", "python3", str(SCRIPT), str(file)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def end() -> dict[str, Any]:
        sign.unlink()
        said, _ = process.communicate(timeout=4 * busy.PATIENCE)
        found: dict[str, Any] = json.loads(said)
        print(json.dumps(found, indent=1))
        return found

    try:
        yield end
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def supervisor(cloud: CloudUnderTest) -> int:
    return int((cloud.root / "run" / "supervisor" / "lock").read_text())


def title(cloud: CloudUnderTest, pid: int) -> str:
    """As the supervisor calls it; what is not its own as `ps` does, without what follows."""
    own = {process["pid"]: str(process["name"]) for process in cloud.status()}
    if pid in own:
        return own[pid]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return Path(words[0].split(" ")[0]).name


def whole(cloud: CloudUnderTest, without: int) -> bool:
    processes = cloud.status()
    states = {process["state"] for process in processes}
    return states == {"READY"} and without not in {process["pid"] for process in processes}


def shown(took: dict[str, list[float]]) -> str:
    lines = [
        f"{name:32} {len(seconds):4} {sorted(seconds)[len(seconds) // 2]:7.1f} {max(seconds):7.1f}"
        for name, seconds in sorted(took.items(), key=lambda item: -max(item[1]))
    ]
    return "\n".join((f"{'killed':32} {'how often':>4} {'median':>7} {'longest':>7}", *lines))


def check(cloud: CloudUnderTest, found: dict[str, Any], before: dict[str, list[str]]) -> None:
    assert {what: found[what] for what in FAULTS} == {what: [] for what in FAULTS}
    assert busy.seen(cloud) == before
    busy.check_nothing_left(cloud)
    for number in range(CLIENTS):
        busy.check_quotas(cloud, f"load-{number}")
    assert ": 0 changes in" in cloud.up().stdout
    # It ends with 1 for what services logged while others were killed.
    said = json.loads(cloud.onestack("doctor", "--json", expect=None).stdout)
    wrong = ("processes", "drift", "remarks", "pool_problem")
    assert said["running"] and not any(said[what] for what in wrong), said


def test_processes_are_killed(
    cloud: CloudUnderTest,
    before: dict[str, list[str]],
    chance: random.Random,
    tmp_path: Path,
) -> None:
    took: dict[str, list[float]] = {}
    with clients(cloud, tmp_path) as end:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 3))
            victims = [pid for pid in cloud.pids() if pid != supervisor(cloud)]
            victim = chance.choice(sorted(victims))
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                name = title(cloud, victim)
                os.kill(victim, signal.SIGKILL)
                begun = time.monotonic()
                ready = functools.partial(whole, cloud, victim)
                wait_until(f"all ready without {name}", ready, WHOLE, 0.5)
                took.setdefault(name, []).append(time.monotonic() - begun)
        found = end()
    print(shown(took))
    assert min(found["ended"]) > 0
    check(cloud, found, before)


def test_power_is_cut(
    cloud: CloudUnderTest,
    before: dict[str, list[str]],
    chance: random.Random,
    tmp_path: Path,
) -> None:
    took: list[float] = []
    with clients(cloud, tmp_path) as end:
        for _ in range(CUTS):
            time.sleep(chance.uniform(2, 40))
            cloud.power_cut()
            begun = time.monotonic()
            cloud.up()
            took.append(time.monotonic() - begun)
            assert whole(cloud, 0)
        found = end()
    print(shown({"all": took}))
    assert min(found["begun"]) > 1
    check(cloud, found, before)
