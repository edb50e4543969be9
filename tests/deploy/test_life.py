"""One cloud's life: up, up again, down and up, killed, a process lost, destroyed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.host import clouds
from onestack.host.ledger import Ledger
from onestack.model.cloud import Cloud
from tests.deploy.known_errors import unexpected
from tests.support import machine
from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def before() -> dict[str, set[str]]:
    # A run of these tests that was itself ended half way has left them.
    for left in map(CloudUnderTest, ("life", "kill", "ctrl")):
        if left.root.exists():
            left.destroy()
    return machine.portrait()


@pytest.fixture(scope="module")
def cloud(before: dict[str, set[str]]) -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest("life", answers=("CONFIG_NEUTRON_L2_AGENT=ovn",))
    yield cloud
    cloud.destroy()


def logs_with_secrets(cloud: CloudUnderTest) -> list[str]:
    values = [v for v in cloud.secrets().values() if len(v) >= 12]
    return [name for name, text in cloud.logs().items() if any(v in text for v in values)]


def left_to_others(cloud: CloudUnderTest) -> set[str]:
    """What clouds share and another one that is on the machine now has in its ledger."""
    others = clouds.others(Cloud(cloud.name, cloud.root))
    return {
        entry.data["path"]
        for name, root in others.items()
        for entry in Ledger.of(Cloud(name, root)).entries()
        if entry.data.get("shared") and "path" in entry.data
    }


def ready(cloud: CloudUnderTest) -> bool:
    return {process["state"] for process in cloud.status()} == {"READY"}


class TestLife:
    def test_fresh_up(self, cloud: CloudUnderTest) -> None:
        done = cloud.up()
        assert "https://" in done.stdout
        assert f"{cloud.root}/etc/admin-openrc" in done.stdout
        assert ready(cloud)

    def test_clients(self, cloud: CloudUnderTest) -> None:
        catalog = cloud.type("openstack catalog list")
        for name in ("identity", "image", "placement", "compute", "network", "block-storage"):
            assert name in catalog
        assert "True" in cloud.type("openstack network agent list -f value -c Alive")
        services = cloud.type("openstack volume service list -f value -c State")
        assert set(services.split()) == {"up"}

    def test_second_up_changes_nothing(self, cloud: CloudUnderTest) -> None:
        pids = {p["name"]: p["pid"] for p in cloud.status()}
        done = cloud.up()
        assert ": 0 changes in" in done.stdout, done.stdout + done.stderr
        assert {p["name"]: p["pid"] for p in cloud.status()} == pids

    def test_dry_run_changes_nothing(self, cloud: CloudUnderTest) -> None:
        done = cloud.onestack("up", "--dry-run", "--set", "CONFIG_DEBUG_MODE=y")
        assert "nova.conf" in done.stdout
        assert "debug = false" in (cloud.root / "etc" / "nova" / "nova.conf").read_text()

    def test_unprivileged(self, cloud: CloudUnderTest) -> None:
        """Services do not run as root; secrets are for their owners only."""
        for process in cloud.status():
            if process["component"] in ("keystone", "glance", "placement", "nova", "cinder"):
                uid = Path(f"/proc/{process['pid']}").stat().st_uid
                assert uid != 0, process["name"]
        for path in (cloud.root / "etc").rglob("*"):
            mode = path.stat().st_mode & 0o777
            if path.is_file() and path.suffix not in (".pem",):
                text = path.read_text(errors="replace")
                secret = any(v in text for v in cloud.secrets().values() if len(v) >= 12)
                assert not (secret and mode & 0o007), f"{path} is {mode:o}"

    def test_no_secret_in_an_argument(self, cloud: CloudUnderTest) -> None:
        values = [v for v in cloud.secrets().values() if len(v) >= 12]
        for pid in cloud.pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            except OSError:
                continue
            assert not any(v in line for v in values), pid

    def test_logs(self, cloud: CloudUnderTest) -> None:
        """A minute of life: by then each periodic work has been done once."""
        wait_until("a minute", lambda: all(p["since"] > 60 for p in cloud.status()), 120)
        assert unexpected(cloud.error_lines()) == []
        assert logs_with_secrets(cloud) == []

    def test_a_lost_process_comes_back(self, cloud: CloudUnderTest) -> None:
        victim = next(p for p in cloud.status() if "nova-conductor" in p["services"])
        os.kill(victim["pid"], signal.SIGKILL)
        wait_until(
            "another conductor",
            lambda: (
                next(p for p in cloud.status() if "nova-conductor" in p["services"])["pid"]
                not in (None, victim["pid"])
            ),
            30,
        )
        wait_until("all ready", lambda: ready(cloud), 60)

    def test_changed_answer_restarts_only_its_users(self, cloud: CloudUnderTest) -> None:
        pids = {p["name"]: p["pid"] for p in cloud.status()}
        cloud.onestack("up", "--set", "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=8.0", timeout=300)
        changed = {p["name"] for p in cloud.status() if p["pid"] != pids[p["name"]]}
        assert changed and all(name.startswith("nova-") for name in changed)

    def test_down_and_up(self, cloud: CloudUnderTest) -> None:
        cloud.onestack("down", timeout=180)
        left = cloud.pids()
        assert left == [], [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        cloud.up()
        assert ready(cloud)

    def test_supervisor_killed(self, cloud: CloudUnderTest) -> None:
        """After kill -9 of the supervisor itself, up brings all back."""
        supervisor = int((cloud.root / "run" / "supervisor" / "lock").read_text())
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(0.5)
        cloud.up()
        assert ready(cloud)

    def test_no_secret_in_a_log(self, cloud: CloudUnderTest) -> None:
        """Nor in what was written when processes were killed."""
        assert logs_with_secrets(cloud) == []

    def test_destroy_leaves_the_machine_as_it_was(
        self, cloud: CloudUnderTest, before: dict[str, set[str]]
    ) -> None:
        cloud.destroy(keep_cache=False)
        found = machine.differences(before, machine.portrait(), known=left_to_others(cloud))
        made = found.pop("packages", {"came": []})
        print("packages that stay:", *made["came"])
        for kind in ("users", "groups"):
            # users of packages stay with their packages
            kept = [x for x in found.get(kind, {}).get("came", []) if "onestack" in x]
            assert kept == []
            found.pop(kind, None)
        assert found == {}
        assert cloud.pids() == []


MOMENTS = (0.5, 1.5, 3, 5, 8, 11, 15, 20, 25, 32)
"""Seconds after the start of ``up`` at which it is killed."""


def test_killed_at_ten_moments() -> None:
    """Each time a little later, each time on what the last one left; the next up converges."""
    cloud = CloudUnderTest("kill", answers=("CONFIG_NEUTRON_L2_AGENT=openvswitch",))
    words = [str(LAUNCHER), "up", "--name", "kill", *cloud.up_words()]
    try:
        for moment in MOMENTS:
            process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            # the supervisor too, every other time: as a power cut would
            pid_file = cloud.root / "run" / "supervisor" / "lock"
            if MOMENTS.index(moment) % 2 and pid_file.exists():
                for pid in cloud.pids():
                    with_error = run(["kill", "-9", str(pid)], expect=None)
                    assert with_error.returncode in (0, 1)
        cloud.up()
        assert ready(cloud)
        assert ": 0 changes in" in cloud.up().stdout
        assert "compute" in cloud.type("openstack catalog list")
    finally:
        cloud.destroy()


def test_interrupted_by_the_operator() -> None:
    """Ctrl-C ends up with 1 and says how to go on."""
    cloud = CloudUnderTest("ctrl", answers=("CONFIG_NEUTRON_L2_AGENT=openvswitch",))
    # Where tests run in the background they may have been told to ignore it.
    words = ["env", "--default-signal=INT", str(LAUNCHER), "up", "--name", "ctrl"]
    words += cloud.up_words()
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output
        assert re.search(r"again", output), output
        assert "Traceback" not in output
    finally:
        cloud.destroy()
