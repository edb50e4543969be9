"""Upstream's own tests, as the last step of `up` and when somebody asks for them.

ONESTACK_TEST_NAME and ONESTACK_TEST_KEEP are as for the tests of services.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.components.tempest import skips
from onestack.components.tempest.inside.results import SKIPPED, Verdict
from tests.deploy.known_errors import unexpected
from tests.support.clouds import LAUNCHER, CloudUnderTest, wait_until

VISIBLE = "tempest.api.network.test_networks.NetworksTest.test_external_network_visibility"
ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_SWIFT_STORAGE_SIZE=4G",
    "CONFIG_HEAT_INSTALL=y",
    "CONFIG_HORIZON_INSTALL=y",
    "CONFIG_CINDER_VOLUMES_SIZE=20G",
    "CONFIG_PROVISION_TEMPEST=y",
    "CONFIG_RUN_TEMPEST=y",
    f"CONFIG_RUN_TEMPEST_TESTS={VISIBLE}",
)
pytestmark = pytest.mark.timeout(3600)
LONG = 3500.0


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "tempest"), answers=ANSWERS)
    with made.living(timeout=1200):
        yield made


def kept(cloud: CloudUnderTest) -> list[Path]:
    """The folders of all runs, the newest last."""
    return sorted((cloud.root / "data" / "tempest" / "results").iterdir())


def test_up_has_run_it_and_does_not_run_it_again(cloud: CloudUnderTest) -> None:
    (folder,) = kept(cloud)
    results = json.loads((folder / "results.json").read_text())
    assert results["counts"] == {"passed": 1, "failed": 0, "skipped": 0}
    assert [test["name"].partition("[")[0] for test in results["tests"]] == [VISIBLE]
    assert ": 0 changes in" in cloud.up().stdout
    assert kept(cloud) == [folder]


def test_the_quick_check(cloud: CloudUnderTest) -> None:
    answer = json.loads(cloud.onestack("verify", "--json").stdout)
    assert answer["well"] is True
    asked = {check["what"] for check in answer["checks"]}
    for what in ("a token", "endpoint object-store", "agent nova-compute", "public network public"):
        assert what in asked


def test_locks_of_another_tempest_are_not_in_its_way(cloud: CloudUnderTest) -> None:
    """As one leaves them that root has run with the same configuration."""
    file = cloud.root / "data" / "tempest" / "lock" / "tempest-serial-rw-lock"
    file.parent.mkdir(exist_ok=True)
    file.touch(0o600)
    before = kept(cloud)
    cloud.onestack("verify", "--tempest", VISIBLE, timeout=900)
    shutil.rmtree(kept(cloud)[-1])
    assert kept(cloud) == before


def test_it_runs_as_nobody_in_particular(cloud: CloudUnderTest) -> None:
    (folder,) = kept(cloud)
    user = f"{cloud.prefix}-tempest"
    for path in (folder, folder / "results.json", folder / "tempest.log"):
        assert path.owner() == user
    file = cloud.root / "etc" / "tempest.conf"
    assert (file.owner(), file.group(), file.stat().st_mode & 0o777) == ("root", user, 0o640)


def test_a_run_that_fails_leaves_the_cloud_up(cloud: CloudUnderTest) -> None:
    """The network is no longer what it was made as: up is not to mend it, Tempest to see it."""
    try:
        cloud.type("openstack network set --internal public")
        # Another selection: what passed before is no answer to it.
        more = ("--set", "CONFIG_SKIP_TEMPEST_TESTS=nothing_of_this_name")
        failed = cloud.onestack("up", *cloud.up_words(), *more, expect=1, timeout=900)
        assert VISIBLE in failed.stderr and "1 failed" in failed.stderr
        assert "the cloud is up" in failed.stderr and str(kept(cloud)[-1]) in failed.stderr
        assert all(process["state"] == "READY" for process in cloud.status())
        again = cloud.onestack("verify", "--tempest", VISIBLE, "--json", expect=1, timeout=900)
        answer = json.loads(again.stdout)
        assert answer["counts"] == {"passed": 0, "failed": 1, "skipped": 0}
        (test,) = answer["tests"]
        assert "Traceback" in test["reason"]
    finally:
        cloud.type("openstack network set --external public")
    # It has failed, so it is run again, and then no more.
    before = kept(cloud)
    assert "1 change " in cloud.onestack("up", *cloud.up_words(), timeout=900).stdout
    assert len(kept(cloud)) == len(before) + 1
    assert ": 0 changes in" in cloud.up().stdout


def test_what_nobody_can_run(cloud: CloudUnderTest) -> None:
    none = cloud.onestack("verify", "--tempest", "no.such.test", expect=2, timeout=300)
    assert "there is no test of Tempest's to run" in none.stderr
    without = cloud.onestack("verify", "--skip", "x", expect=2)
    assert "--tempest" in without.stderr


def test_a_run_that_is_killed_is_cleaned_up_after(cloud: CloudUnderTest, tmp_path: Path) -> None:
    """Its tests do not go on; what they had made is removed by the next one, or by --clean."""
    running = "tempest.api.volume.test_volumes_actions"
    said = tmp_path / "said"
    with said.open("w") as output:
        subprocess.Popen(
            [LAUNCHER, "verify", "--name", cloud.name, "--tempest", running, "--concurrency", "1"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # also where the output is a file
    wait_until("tests run", lambda: f"running: {running}" in said.read_text(), 600)
    own = "openstack project list -f value -c Name"
    wait_until("a project", lambda: "tempest-VolumesActionsTest" in cloud.type(own), 300)
    pid = int((cloud.root / "run" / "up.lock").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_until("the lock", lambda: not Path(f"/proc/{pid}/exe").exists(), 60)
    assert (cloud.root / "etc" / "tempest-before.json").exists()
    told = cloud.onestack("verify", "--clean", timeout=900).stdout
    assert "removing the project tempest-VolumesActionsTest" in told
    assert "tempest-VolumesActionsTest" not in cloud.type(own)
    assert "tempest-VolumesActionsTest" not in cloud.type("openstack user list -f value -c Name")
    assert "Nothing is left" in cloud.onestack("verify", "--clean", timeout=900).stdout
    # what was not Tempest's is there
    assert "public" in cloud.type("openstack network list -f value -c Name").split()
    shutil.rmtree(kept(cloud)[-1])


def test_while_something_stays_what_is_made_is_peoples(cloud: CloudUnderTest) -> None:
    """A run that was killed, by what it would leave: a host in a zone of its, and a project."""
    own, flavors = (
        "openstack project list -f value -c Name",
        "openstack flavor list -f value -c Name",
    )
    stays, zone = "tempest-Stays-123456", "tempest-test_az-1234567"
    (cloud.root / "etc" / "tempest-before.json").write_text('{"before": []}')
    cloud.type(f"openstack project create {stays}")
    cloud.type(f"openstack role add --project {stays} --user admin member")
    cloud.type(f"openstack aggregate create --zone {zone} tempest-test_aggregate-1234567")
    hosts = json.loads(cloud.type("openstack compute service list -f json"))
    host = next(each["Host"] for each in hosts if each["Binary"] == "nova-compute")
    cloud.type(f"openstack aggregate add host tempest-test_aggregate-1234567 {host}")
    cloud.type("openstack service create --name tempest-service-1234567 tempest-type-1234567")
    told = cloud.onestack("verify", "--clean", expect=1, timeout=900).stdout
    assert f"not removed: the project {stays}: 1 may use it" in told
    assert zone not in cloud.type("openstack availability zone list -f value")
    assert "tempest-service-1234567" not in cloud.type("openstack service list -f value -c Name")
    cloud.type("openstack project create tempest-team-222222")
    cloud.type("openstack flavor create --ram 64 --disk 1 --vcpus 1 tempest-big-1111111")
    cloud.type(f"openstack role remove --project {stays} --user admin member")
    try:
        assert stays in cloud.onestack("verify", "--clean", timeout=900).stdout
        assert "Nothing is left" in cloud.onestack("verify", "--clean", timeout=900).stdout
        projects = cloud.type(own).split()
        assert stays not in projects and "tempest-team-222222" in projects
        assert "tempest-big-1111111" in cloud.type(flavors).split()
    finally:
        cloud.type("openstack project delete tempest-team-222222")
        cloud.type("openstack flavor delete tempest-big-1111111")


@pytest.fixture(scope="module")
def smoke(cloud: CloudUnderTest) -> tuple[dict[str, Any], str]:
    done = cloud.onestack("verify", "--tempest", "smoke", "--json", timeout=LONG, expect=None)
    return json.loads(done.stdout), done.stderr


def test_each_reason_to_skip_is_listed(smoke: tuple[dict[str, Any], str]) -> None:
    tests = [Verdict(**test) for test in smoke[0]["tests"] if test["outcome"] == SKIPPED]
    assert [group for group in skips.grouped(tests) if not group.why] == []


def test_smoke_passes(smoke: tuple[dict[str, Any], str]) -> None:
    answer, progress = smoke
    failed = {t["name"]: t["reason"] for t in answer["tests"] if t["outcome"] == "failed"}
    assert failed == {}
    assert answer["well"] is True and answer["counts"]["passed"] > 100
    assert " tests\n" in progress and "; running: " in progress
    suite = xml.parse(Path(answer["results"]) / "junit.xml").getroot()
    assert suite.get("failures") == "0" and suite.get("tests") == str(len(answer["tests"]))
    assert (Path(answer["results"]) / "tests.subunit").stat().st_size > 0


def test_nothing_is_skipped_that_is_there(smoke: tuple[dict[str, Any], str]) -> None:
    skipped = {t["name"]: t["reason"] for t in smoke[0]["tests"] if t["outcome"] == "skipped"}
    for name, reason in skipped.items():
        # virtual private networks, load balancers and further hosts are not in this cloud
        assert any(word in name for word in (".vpnaas.", "octavia_", "multinode")), (name, reason)


def test_smoke_leaves_nothing_behind(
    cloud: CloudUnderTest, smoke: tuple[dict[str, Any], str]
) -> None:
    for what in ("server", "volume"):
        assert cloud.type(f"openstack {what} list --all-projects -f value").strip() == ""
    networks = cloud.type("openstack network list -f value -c Name").split()
    assert networks == ["public"]


def test_no_error_was_logged(cloud: CloudUnderTest, smoke: tuple[dict[str, Any], str]) -> None:
    assert unexpected(cloud.error_lines()) == []
