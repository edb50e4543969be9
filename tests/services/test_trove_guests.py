"""Databases in guests of their own: MariaDB whole, PostgreSQL made, backed up and restored.

A guest under emulation takes minutes to come: what can go on side by side does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until
from tests.support.databases import ANSWERS, NETWORKS, Databases

pytestmark = pytest.mark.timeout(5400)
NAME = os.environ.get("ONESTACK_TEST_NAME", "dbguests")
SSH = (
    "ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o ConnectTimeout=10 -o LogLevel=ERROR"
)
USER, PASSWORD = "app", "of-a-test"
ASKED_FOR = (
    "was interrupted",
    # A guest that boots is asked how full its disk is, and does not answer.
    " ERROR trove.guestagent.api ",
    " ERROR trove.instance.models ",
)
"""Lines of trove's log that come of what the tests do: it is killed, and so are guests."""
RELAY = """import socket, subprocess, sys
with socket.create_server(("127.0.0.1", 33306)) as here:
    here.settimeout(60)
    one, _ = here.accept()
    subprocess.run(sys.argv[1:], stdin=one, stdout=one, timeout=60)
"""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    layout = os.environ.get("ONESTACK_TEST_LAYOUT", "ovn")
    answers: tuple[str, ...] = (f"CONFIG_NEUTRON_L2_AGENT={layout}", *ANSWERS)
    if asked := os.environ.get("ONESTACK_TEST_ANSWERS"):
        answers = (*answers, *asked.split())
    cloud = CloudUnderTest(NAME, answers=answers)
    with cloud.living(timeout=2400):
        cloud.type(NETWORKS)
        yield Databases(cloud)


@pytest.fixture(scope="module")
def addresses() -> dict[str, str]:
    """Of databases, by which this machine reaches them."""
    return {}


def public(databases: Databases, name: str) -> str:
    """The floating IP of a database."""
    found = databases.show(name)["addresses"]
    return str(next(each["address"] for each in found if each["type"] == "public"))


def private(databases: Databases, name: str) -> str:
    found = databases.show(name)["addresses"]
    return str(next(each["address"] for each in found if each["type"] == "private"))


def test_both_kinds_are_made(databases: Databases, addresses: dict[str, str]) -> None:
    databases.create(
        "db-maria",
        "--is-public",
        "--databases shop",
        f"--users {USER}:{PASSWORD}",
    )
    databases.create("db-postgres", "--is-public", datastore="postgresql 15")
    for name in ("db-maria", "db-postgres"):
        databases.healthy(name)
        addresses[name] = public(databases, name)


def test_log_in_from_outside(databases: Databases, addresses: dict[str, str]) -> None:
    here = addresses["db-maria"]
    assert databases.ask(here, USER, PASSWORD, "SELECT 1+1") == "2"
    made = "CREATE TABLE things (id INT PRIMARY KEY, what TEXT); INSERT INTO things VALUES (1,'a')"
    databases.ask(here, USER, PASSWORD, made, "shop")
    # Who is not allowed is not let in.
    assert "denied" in databases.refused(
        f"MYSQL_PWD=wrong mariadb --skip-ssl --host={here} --user={USER} -e 'SELECT 1'"
    )


def test_log_in_from_a_tenants_guest(databases: Databases, tmp_path: Path) -> None:
    """Through ssh and the guest's netcat: the connection to the database is the guest's own."""
    cloud, key = databases.cloud, tmp_path / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    cloud.type(
        f"set -e; openstack keypair create db-key --public-key {key}.pub; "
        "openstack security group create client-ssh; "
        "openstack security group rule create client-ssh --protocol tcp --dst-port 22; "
        "openstack server create db-client --flavor m1.nano --image cirros --network db-net "
        "--key-name db-key --security-group client-ssh --wait",
        timeout=300,
    )
    port = cloud.type("openstack port list --server db-client -f value -c ID").strip()
    floating = cloud.type(
        f"openstack floating ip create db-ext --port {port} -f value -c floating_ip_address"
    ).strip()
    ssh = SSH.format(key=key)
    wait_until("the client", lambda: cloud.type(f"{ssh} cirros@{floating} true") == "", 300, 5)
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    cloud.type(
        f"nohup python3 {relay} {ssh} cirros@{floating} nc {private(databases, 'db-maria')} 3306 "
        ">/dev/null 2>&1 &"
    )
    line = (
        f"MYSQL_PWD={PASSWORD} mariadb --skip-ssl --protocol=tcp --host=127.0.0.1 --port=33306 "
        f"--user={USER} -N -B shop -e 'SELECT what FROM things'"
    )
    wait_until("the database's answer", lambda: cloud.type(line).strip() == "a", 60, 2)
    # The network of the guests' own is not a tenant's.
    mine = "198.18.12.1"
    assert cloud.inside(
        f"{ssh} cirros@{floating} 'nc -w 3 {mine} 5671 </dev/null'", expect=None, timeout=60
    ).returncode
    cloud.type(
        f"openstack server delete --wait db-client; openstack floating ip delete {floating}; "
        "openstack security group delete client-ssh; openstack keypair delete db-key"
    )


def test_databases_and_users(databases: Databases, addresses: dict[str, str]) -> None:
    cloud, here = databases.cloud, addresses["db-maria"]
    cloud.type("openstack database db create db-maria second", timeout=180)
    assert "second" in cloud.type("openstack database db list db-maria -f value", timeout=180)
    cloud.type(
        f"openstack database user create db-maria other {PASSWORD} --databases second", timeout=180
    )
    listed = cloud.type("trove user-list db-maria", timeout=180)
    assert "other" in listed and "os_admin" not in listed
    # The guest itself looks into the object store for what it has published.
    logs = "openstack database log list db-maria -f value -c Name"
    assert "general" in cloud.type(logs, timeout=180)
    assert "second" in databases.ask(here, "other", PASSWORD, "SHOW DATABASES")
    cloud.type("openstack database user delete db-maria other", timeout=180)
    cloud.type("openstack database db delete db-maria second", timeout=180)
    wait_until(
        "the database's end",
        lambda: "second" not in cloud.type("trove database-list db-maria", timeout=180),
        120,
        3,
    )


def test_root(databases: Databases, addresses: dict[str, str]) -> None:
    said = databases.json("database root enable db-maria", timeout=300)
    assert databases.ask(addresses["db-maria"], "root", said["password"], "SELECT 2") == "2"
    databases.cloud.type("openstack database root disable db-maria", timeout=300)


def test_a_restart_and_a_configuration(databases: Databases, addresses: dict[str, str]) -> None:
    cloud, here = databases.cloud, addresses["db-maria"]
    made = databases.json(
        "database configuration create db-conf '{\"max_connections\": 77}' --datastore mariadb "
        "--datastore-version 10.11"
    )
    cloud.type(f"openstack database configuration attach db-maria {made['id']}", timeout=300)
    cloud.type("openstack database instance restart db-maria", timeout=300)
    databases.healthy("db-maria", 600)
    asked = "SHOW VARIABLES LIKE 'max_connections'"
    assert databases.ask(here, USER, PASSWORD, asked).split() == ["max_connections", "77"]
    assert databases.ask(here, USER, PASSWORD, "SELECT what FROM things", "shop") == "a"
    cloud.type("openstack database configuration detach db-maria", timeout=300)


def test_backups_and_a_restore(databases: Databases, addresses: dict[str, str]) -> None:
    """A full one and what came after it, in Swift; a new database from both."""
    cloud, here = databases.cloud, addresses["db-maria"]
    cloud.type("openstack database backup create db-full --instance db-maria")
    cloud.type("openstack database backup create db-pg --instance db-postgres")
    databases.backup("db-full")
    databases.backup("db-pg")
    databases.settled("db-maria")
    databases.ask(here, USER, PASSWORD, "INSERT INTO things VALUES (2,'b')", "shop")
    cloud.type("openstack database backup create db-more --instance db-maria --incremental")
    more = databases.backup("db-more")
    assert more["parent_id"]
    assert "database_backups" in cloud.type("swift list")
    databases.create("db-again", "--is-public", f"--backup {more['id']}")
    pg = databases.json("database backup show db-pg")["id"]
    databases.create("db-pg-again", f"--backup {pg}", datastore="postgresql 15")
    databases.healthy("db-again", 2400)
    addresses["db-again"] = public(databases, "db-again")
    found = databases.ask(
        addresses["db-again"], USER, PASSWORD, "SELECT what FROM things ORDER BY id", "shop"
    )
    assert found.split() == ["a", "b"]
    databases.healthy("db-pg-again", 2400)
    databases.deleted("db-pg-again")


def test_a_larger_volume(databases: Databases, addresses: dict[str, str]) -> None:
    databases.cloud.type("openstack database instance resize volume db-again 2")
    wait_until(
        "the larger volume",
        lambda: (
            (found := databases.show("db-again"))["volume"] == 2 and found["status"] == "ACTIVE"
        ),
        1200,
        5,
    )
    databases.healthy("db-again", 600)
    found = databases.ask(
        addresses["db-again"], USER, PASSWORD, "SELECT COUNT(*) FROM things", "shop"
    )
    assert found == "2"


def test_the_service_is_killed_in_the_middle(databases: Databases) -> None:
    """Nothing stays stuck: what was being built is built, or is in error and can be deleted."""
    cloud = databases.cloud

    def process() -> dict[str, object]:
        return next(p for p in cloud.status() if p["name"] == "trove")

    databases.create("db-cut")
    wait_until(
        "its server",
        lambda: "db-cut" in cloud.type("openstack server list --all-projects -f value -c Name"),
        120,
    )
    cloud.type("openstack database backup create db-cut-backup --instance db-maria")
    pid = process()["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until("trove again", lambda: process()["state"] == "READY" and process()["pid"] != pid, 90)
    databases.healthy("db-cut")
    databases.backup("db-cut-backup")
    databases.deleted("db-cut")


def test_down_and_up(databases: Databases, addresses: dict[str, str]) -> None:
    """In the middle of a backup, too: it has failed, and the database is there again."""
    cloud = databases.cloud
    cloud.type("openstack database backup create db-lost --instance db-again")
    cloud.onestack("down", timeout=300)
    cloud.up(timeout=900)
    for name in ("db-maria", "db-again"):
        databases.answers(addresses[name], USER, PASSWORD)
        databases.healthy(name, 1200)
    lost = databases.json("database backup show db-lost")["status"]
    assert lost in ("FAILED", "COMPLETED")


def test_a_power_cut(databases: Databases, addresses: dict[str, str]) -> None:
    """In the middle of three things at once: each settles, and nothing that was there is lost."""
    cloud, here = databases.cloud, addresses["db-maria"]
    databases.ask(here, USER, PASSWORD, "INSERT INTO things VALUES (3,'c')", "shop")
    databases.create("db-dark")
    wait_until(
        "its server",
        lambda: "db-dark" in cloud.type("openstack server list --all-projects -f value -c Name"),
        120,
    )
    cloud.type("openstack database backup create db-dark-backup --instance db-postgres")
    cloud.type("openstack database instance resize volume db-maria 2")
    wait_until("the resize", lambda: databases.show("db-maria")["status"] == "RESIZE", 120, 0.2)
    cloud.power_cut()
    cloud.up(timeout=900)
    databases.answers(here, USER, PASSWORD)
    for name in ("db-maria", "db-postgres"):
        databases.healthy(name, 1500)
    assert databases.show("db-maria")["volume"] in (1, 2)
    found = databases.ask(here, USER, PASSWORD, "SELECT what FROM things ORDER BY id", "shop")
    assert found.split()[-1] == "c"
    backup = databases.json("database backup show db-dark-backup")["status"]
    assert backup in ("FAILED", "COMPLETED")
    made = databases.settled("db-dark", 1500)
    print(f"after the power cut: {made['status']}, the backup {backup}")
    databases.deleted("db-dark")


def test_a_reboot(databases: Databases, addresses: dict[str, str]) -> None:
    # Of a name the client makes a wrong address.
    database = databases.show("db-maria")["id"]
    databases.cloud.type(f"openstack database instance reboot {database}", timeout=300)
    databases.answers(addresses["db-maria"], USER, PASSWORD)
    databases.healthy("db-maria", 1200)


def test_all_of_it_goes(databases: Databases) -> None:
    for name in ("db-maria", "db-again", "db-postgres"):
        databases.deleted(name)
    wait_until("nothing to be left", lambda: not any(databases.left().values()), 180, 3)
    wrong = [line for line in unexpected(databases.cloud.error_lines()) if "trove.log" in line]
    assert [line for line in wrong if not any(words in line for words in ASKED_FOR)] == []
