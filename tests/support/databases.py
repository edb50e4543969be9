"""What tests of databases have in common: a cloud with a network for them, and questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.clouds import CloudUnderTest, CommandFailed, wait_until

ANSWERS = (
    "CONFIG_TROVE_INSTALL=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    "CONFIG_CINDER_VOLUMES_SIZE=8G",
)
NETWORKS = (
    "set -e; "
    "openstack network create db-ext --external --provider-network-type local; "
    "openstack subnet create db-ext-sub --network db-ext --subnet-range 10.50.14.0/24 "
    "--allocation-pool start=10.50.14.71,end=10.50.14.89 --no-dhcp; "
    "openstack network create db-net; "
    "openstack subnet create db-sub --network db-net --subnet-range 192.168.71.0/24; "
    "openstack router create db-router --external-gateway db-ext; "
    "openstack router add subnet db-router db-sub"
)
GONE = ("ERROR", "FAILED")
INTRUDER = Path(__file__).with_name("intruder.py")
"""A program that is a guest in strange hands."""
INTRUDED = {
    "the main vhost": "refused",
    "hear the taskmanager": "refused",
    "hear the conductor": "refused",
    "hear all": "refused",
    "hear the taskmanager by an exchange": "refused",
    "hear all by an exchange": "refused",
    "hear a guest": "taken",
    "read the taskmanager's queue": "refused",
    "delete the exchange": "refused",
    "make the exchange": "refused",
    "make the exchange another": "refused",
    "see the exchange": "taken",
    "tell the taskmanager": "refused",
    "tell the conductor": "taken",
    "tell by default exchange": "taken",
    "tell by copy": "taken",
    "tell by dead letter": "taken",
    "tell by alternate exchange": "taken",
    "tell by bound exchange": "taken",
}
"""What of that the bus is to say. Whom a guest tells something it cannot limit."""


class Databases:
    """The cloud, and the databases that a sitting has made."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud

    def json(self, command: str, **more: Any) -> Any:
        return json.loads(self.cloud.type(f"openstack {command} -f json", **more))

    def network(self) -> str:
        return self.cloud.type("openstack network show db-net -f value -c id").strip()

    def create(
        self, name: str, *words: str, datastore: str = "mariadb 10.11", flavor: str = "db.small"
    ) -> str:
        """Asked for; its id."""
        kind, version = datastore.split()
        said = self.json(
            f"database instance create {name} --flavor {flavor} --size 1 --datastore {kind} "
            f"--datastore-version {version} --nic net-id={self.network()} {' '.join(words)}"
        )
        return str(said["id"])

    def show(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json(f"database instance show {name}")
        return found

    def healthy(self, name: str, seconds: float = 1500) -> dict[str, Any]:
        """Waited for; fails at once where trove has given up."""

        def look() -> dict[str, Any] | None:
            found = self.show(name)
            if found["status"] in GONE:
                raise AssertionError(f"{name} is {found['status']}: {found}\n{self.log()}")
            well = found["status"] == "ACTIVE" and found["operating_status"] == "HEALTHY"
            return found if well else None

        found: dict[str, Any] = wait_until(f"the database {name}", look, seconds, 5)
        return found

    def log(self) -> str:
        return self.cloud.log_ends("trove.log")

    def settled(self, name: str, seconds: float = 900) -> dict[str, Any]:
        """Neither being built nor in the middle of anything else."""

        def look() -> dict[str, Any] | None:
            found = self.show(name)
            return found if found["status"] in ("ACTIVE", *GONE) else None

        found: dict[str, Any] = wait_until(f"{name} to settle", look, seconds, 5)
        return found

    def backup(self, name: str, state: str = "COMPLETED", seconds: float = 900) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.json(f"database backup show {name}")
            if found["status"] != state and found["status"] in ("COMPLETED", "FAILED"):
                raise AssertionError(f"the backup {name} is {found['status']}\n{self.log()}")
            return found if found["status"] == state else None

        found: dict[str, Any] = wait_until(f"the backup {name}", look, seconds, 5)
        return found

    def deleted(self, name: str, seconds: float = 600) -> None:
        self.cloud.type(f"openstack database instance delete {name}")

        def gone() -> bool:
            return name not in self.cloud.type("openstack database instance list -f value -c Name")

        wait_until(f"{name} to be gone", gone, seconds, 3)

    def ask(self, address: str, user: str, password: str, sql: str, database: str = "") -> str:
        """MariaDB's answer, from this machine."""
        words = f"--host={address} --user={user} --connect-timeout=10 --skip-ssl -N -B {database}"
        return self.cloud.type(f'MYSQL_PWD={password} mariadb {words} -e "{sql}"').strip()

    def answers(self, address: str, user: str, password: str, seconds: float = 1200) -> None:
        """Waited for: of a guest that boots, trove goes on to say what it heard of it last."""

        def look() -> bool:
            words = f"--host={address} --user={user} --connect-timeout=10 --skip-ssl -e 'SELECT 1'"
            asked = f"MYSQL_PWD={password} mariadb {words}"
            return self.cloud.inside(asked, expect=None).returncode == 0

        wait_until(f"the database at {address}", look, seconds, 3)

    def refused(self, command: str) -> str:
        done = self.cloud.inside(command, expect=None)
        if done.returncode == 0:
            raise CommandFailed(f"{command} was not refused\n{done.stdout}")
        return done.stderr + done.stdout

    def left(self) -> dict[str, list[str]]:
        """What of databases is in nova, neutron and cinder."""
        commands = {
            "servers": "server list --all-projects -f value -c Name --name '^db-'",
            "ports": "port list -f value -c Name",
            "volumes": "volume list --all-projects -f value -c Name",
            "groups": "security group list -f value -c Name",
        }
        found = {}
        for kind, command in commands.items():
            names = self.cloud.type(f"openstack {command}").split()
            found[kind] = [n for n in names if n.startswith(("trove-", "trove_sg-", "db-"))]
        mine = ("trove-mgmt", "trove-mgmt-host")
        return {kind: [n for n in names if n not in mine] for kind, names in found.items()}
