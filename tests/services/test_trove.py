"""Databases without a guest: what people see and may, and what is refused, and why."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest

from onestack.release.release import release
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, wait_until
from tests.support.databases import ANSWERS, INTRUDED, INTRUDER, NETWORKS, Databases

pytestmark = pytest.mark.timeout(1800)
NAME = os.environ.get("ONESTACK_TEST_NAME", "bases")


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    cloud = CloudUnderTest(NAME, answers=("CONFIG_NEUTRON_L2_AGENT=ovn", *ANSWERS))
    with cloud.living(timeout=1800):
        cloud.type(NETWORKS)
        cloud.type(
            "set -e; openstack project create db-project; "
            "openstack user create db-member --password of-a-test; "
            "openstack user create db-reader --password of-a-test; "
            "openstack role add --project db-project --user db-member member; "
            "openstack role add --project db-project --user db-reader reader"
        )
        yield Databases(cloud)


def as_user(databases: Databases, name: str, command: str) -> str:
    done = databases.cloud.inside(
        f"OS_USERNAME={name} OS_PASSWORD=of-a-test OS_PROJECT_NAME=db-project openstack {command}",
        expect=None,
    )
    return done.stdout.strip() if done.returncode == 0 else f"refused: {done.stderr}"


def test_a_second_up_changes_nothing(databases: Databases) -> None:
    cloud = databases.cloud
    assert ": 0 changes in" in cloud.up(timeout=1800).stdout


def test_what_there_is_to_choose_from(databases: Databases) -> None:
    cloud = databases.cloud
    for kind, version in (("mariadb", "10.11"), ("postgresql", "15")):
        (found,) = databases.json(f"datastore version list {kind}")
        assert found["Name"] == version
        parameters = databases.json(
            f"database configuration parameter list {version} --datastore {kind}"
        )
        assert len(parameters) > 20
    flavors = {f["Name"]: f["RAM"] for f in databases.json("database flavor list")}
    assert flavors["db.small"] == 2048
    # The image is the service's own: nobody else boots it, or puts another in its place.
    assert "database-guest" not in as_user(databases, "db-member", "image list -f value -c Name")
    text = cloud.type("trove datastore-list")
    assert "mariadb" in text and "postgresql" in text
    assert re.search(r"db\.small", cloud.type("trove flavor-list"))


def test_a_reader_may_not_write(databases: Databases) -> None:
    assert as_user(databases, "db-reader", "database instance list -f json") == "[]"
    make = "database configuration create c '{\"max_connections\": 60}' --datastore mariadb "
    make += "--datastore-version 10.11"
    assert "403" in as_user(databases, "db-reader", make)
    made = as_user(databases, "db-member", f"{make} -f json")
    assert json.loads(made)["name"] == "c"
    seen = json.loads(as_user(databases, "db-reader", "database configuration list -f json"))
    assert [each["Name"] for each in seen] == ["c"]
    assert "403" in as_user(databases, "db-reader", "database configuration delete c")
    assert as_user(databases, "db-member", "database configuration delete c") == ""


def test_what_is_refused_and_why(databases: Databases) -> None:
    create = "openstack database instance create no --flavor db.small --datastore mariadb "
    create += "--datastore-version 10.11"
    assert "--nic" in databases.refused(f"{create} --size 1")
    network = f"--nic net-id={databases.network()}"
    assert "exceed" in databases.refused(f"{create} --size 1000 {network}")
    project = databases.cloud.type("openstack project show admin -f value -c id").strip()
    databases.cloud.type(f"openstack database quota update {project} instances 0")
    assert "Quota exceeded" in databases.refused(f"{create} --size 1 {network}")
    databases.cloud.type(f"openstack database quota update {project} instances 10")
    assert databases.json("database instance list") == []


def test_the_bus_is_not_theirs(databases: Databases) -> None:
    """A guest's account, in the hands of whoever broke out of a database."""
    cloud = databases.cloud
    etc = cloud.root / "etc"
    # Nobody hears that: what becomes of it at the taskmanager is tried beside upstream's code.
    words = (release().services.python, "-W", "ignore", INTRUDER, etc / "trove/guestagent.conf")
    said = cloud.type(" ".join(map(str, (*words, "taskmanager.nobody", etc / "tls/ca.pem"))))
    assert json.loads(said) == INTRUDED


def test_doctor_finds_nothing(databases: Databases) -> None:
    said = json.loads(databases.cloud.onestack("doctor", "--json", expect=None).stdout)
    about = [remark for remark in said["remarks"] if "trove" in str(remark).lower()]
    assert not about


def test_passwords_are_changed(databases: Databases) -> None:
    cloud = databases.cloud
    cloud.answers += ("CONFIG_TROVE_KS_PW=of-a-test-1", "CONFIG_TROVE_DB_PW=of-a-test-2")
    assert ": 0 changes in" not in cloud.up(timeout=1800).stdout
    assert len(databases.json("datastore list")) == 2
    assert ": 0 changes in" in cloud.up(timeout=1800).stdout


def test_what_was_interrupted_can_be_deleted(databases: Databases) -> None:
    """The service is killed when it has promised a database and before it has a server."""
    cloud = databases.cloud

    def process() -> dict[str, object]:
        return next(p for p in cloud.status() if p["name"] == "trove")

    made = databases.create("db-cut")
    pid = process()["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until("trove again", lambda: process()["state"] == "READY" and process()["pid"] != pid, 90)
    # It is in error, or had a server already and is waited for; deleted by force it is gone.
    cloud.type(f"openstack database instance force delete {made}")
    wait_until(
        "the database's end",
        lambda: databases.json("database instance list") == [],
        300,
        3,
    )
    wait_until("nothing to be left", lambda: not any(databases.left().values()), 120, 3)


def test_logs_are_clean(databases: Databases) -> None:
    cloud = databases.cloud
    wrong = [line for line in unexpected(cloud.error_lines()) if line.startswith("trove")]
    # Of the database whose building was cut off, and which was deleted while it was waited for.
    expected = re.compile(
        r"was interrupted|loopingcall|trove\.taskmanager\.models|trove\.instance\.models"
        r"|trove\.common\.exception .*Instance None could not be found"
    )
    assert [line for line in wrong if not expected.search(line)] == []
    for name, value in cloud.secrets().items():
        if name.startswith("trove"):
            assert not [log for log, text in cloud.logs().items() if value in text], name


def test_a_flavor_that_is_too_small(databases: Databases) -> None:
    """Nova refuses it, and whoever asked for the database reads why; trove logs it at length."""
    cloud = databases.cloud
    cloud.type("openstack flavor create db-tiny --ram 64 --disk 1 --vcpus 1")
    made = databases.create("db-tight", flavor="db-tiny")
    found = databases.settled("db-tight", 300)
    assert found["status"] == "ERROR"
    assert "too small" in str(found.get("fault", "")), found
    cloud.type(f"openstack database instance delete {made}")
    wait_until("its end", lambda: databases.json("database instance list") == [], 300, 3)
    wait_until("nothing to be left", lambda: not any(databases.left().values()), 120, 3)
    cloud.type("openstack flavor delete db-tiny")


def test_nothing_of_it_is_left(databases: Databases) -> None:
    cloud = databases.cloud
    cloud.onestack("up", "--purge", "--yes", "--set", "CONFIG_TROVE_INSTALL=n", timeout=900)
    assert not (cloud.root / "etc" / "trove").exists()
    names = cloud.type("openstack image list -f value -c Name").split()
    assert not [name for name in names if name.startswith("database-guest")]
    assert "trove-mgmt" not in cloud.type("openstack network list -f value -c Name")
    assert "db.small" not in cloud.type("openstack flavor list -f value -c Name")
    assert "database" not in cloud.type("openstack service list -f value -c Type").split()
    assert not any(databases.left().values())
