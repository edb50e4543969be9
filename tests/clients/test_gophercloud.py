"""gophercloud's acceptance tests, out of Debian's package: what Terraform's provider is made of.

The package is of 2020.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from onestack.components.octavia.tempest import unpacked
from onestack.host import debs
from tests.clients.conftest import SMALL
from tests.clients.suites import Outcome, not_passed
from tests.support.clouds import CloudUnderTest, run

HOURS = 1.5
pytestmark = pytest.mark.timeout(HOURS * 3600 + 1800)
PACKAGE = "golang-github-gophercloud-gophercloud-dev"
SOURCE = "usr/share/gocode"
TESTS = "github.com/gophercloud/gophercloud/acceptance/openstack"
SERVICES = (
    *("blockstorage/v3", "compute/v2", "identity/v3", "imageservice/v2", "keymanager/v1"),
    *("loadbalancer/v2", "networking/v2/...", "objectstorage/v1", "orchestration/v1"),
    "placement/v1",
)


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The compiler's environment; its root is GOROOT."""
    work = tmp_path_factory.mktemp("go")
    said = run(["apt-cache", "depends", "--recurse", "--important", PACKAGE]).stdout
    names = [line for line in said.splitlines() if line.startswith("golang-")]
    debs.unpack(names, work / "source")
    yield {
        "GOROOT": str(unpacked(work)),
        "GOPATH": str(work / "source" / SOURCE),
        "GOCACHE": str(work / "cache"),
        "HOME": str(work),
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }


@pytest.fixture(scope="module")
def given(cloud: CloudUnderTest) -> dict[str, str]:
    """What the tests are told of the cloud."""

    def one(command: str) -> str:
        return cloud.type(f"openstack {command}").split()[0]

    return {
        "OS_IMAGE_ID": one("image list -f value -c ID"),
        "OS_FLAVOR_ID": one(f"flavor show {SMALL} -f value -c id"),
        "OS_FLAVOR_ID_RESIZE": one("flavor show m1.tiny -f value -c id"),
        "OS_NETWORK_NAME": "private",
        "OS_NETWORK_ID": one("network show private -f value -c id"),
        "OS_SUBNET_ID": one("subnet show private_subnet -f value -c id"),
        "OS_EXTGW_ID": one("network show public -f value -c id"),
        "OS_POOL_NAME": "public",
    }


def test_all_pass(cloud: CloudUnderTest, go: dict[str, str], given: dict[str, str]) -> None:
    words = " ".join(f"{name}='{value}'" for name, value in {**go, **given}.items())
    packages = " ".join(f"{TESTS}/{name}" for name in SERVICES)
    done = cloud.inside(
        f"env {words} SSL_CERT_FILE=$OS_CACERT {go['GOROOT']}/bin/go test -json -vet=off "
        f"-p 1 -parallel 1 -timeout {HOURS}h -tags 'fixtures acceptance' {packages}",
        timeout=HOURS * 3600 + 600,
        expect=None,
    )
    outcomes = read(done)
    assert not_passed(outcomes) == {}
    assert len([one for one in outcomes if one.outcome == "passed"]) > 200


def read(done: subprocess.CompletedProcess[str]) -> list[Outcome]:
    words = {"pass": "passed", "fail": "failed", "skip": "skipped"}
    said: dict[str, list[str]] = {}
    outcomes = []
    for line in done.stdout.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        test = f"{event.get('Package', '').removeprefix(TESTS)}:{event.get('Test', '')}"
        if event.get("Action") == "output":
            said.setdefault(test, []).append(event["Output"])
        elif event.get("Action") in words and event.get("Test"):
            reason = "".join(said.get(test, []))
            outcomes.append(Outcome(test, words[event["Action"]], reason, event["Elapsed"]))
    assert outcomes, done.stdout[-3000:] + done.stderr[-3000:]
    return outcomes
