"""Clusters of sahara's plugin `fake`: whole, but for the software in them."""

from __future__ import annotations

import json
from typing import Any

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, CommandFailed, wait_until

PROCESSES = {"master": "namenode jobtracker", "worker": "datanode tasktracker"}


class Clusters:
    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud
        self.cut = set[str]()
        """Those that a test brought to an error, by their ids."""

    def json(self, command: str, **more: Any) -> Any:
        return json.loads(self.cloud.type(f"openstack {command} -f json", **more))

    def ask(self, command: str, **more: Any) -> Any:
        return self.json(f"dataprocessing {command}", **more)

    def refused(self, command: str) -> str:
        """What is said of a command that fails."""
        done = self.cloud.inside(f"openstack {command}", expect=None)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def offer(self, external: str) -> None:
        """The guest's image for machines of a cluster, and a template of a master and a worker."""
        self.ask("image register cirros --username cirros")
        self.ask("image tags add cirros --tags fake 0.1")
        pool = self.cloud.type(f"openstack network show {external} -f value -c id").strip()
        for name, processes in PROCESSES.items():
            self.ask(
                f"node group template create --name dp-{name} --plugin fake --plugin-version 0.1 "
                f"--processes {processes} --flavor m1.nano --floating-ip-pool {pool} "
                "--auto-security-group"
            )
        self.ask("cluster template create --name dp-fake --node-groups dp-master:1 dp-worker:1")

    def create(self, name: str, network: str = "dp-net") -> str:
        """Its id."""
        return str(self.ask(self.creation(name, network))["Id"])

    def creation(self, name: str, network: str = "dp-net") -> str:
        return (
            f"cluster create --name {name} --cluster-template dp-fake --image cirros "
            f"--neutron-network {network}"
        )

    def wrong(self) -> list[str]:
        """Lines of errors in the logs that nobody asked for."""
        lines = unexpected(self.cloud.error_lines())
        cut = ("was interrupted", *self.cut)
        return [line for line in lines if not any(word in line for word in cut)]

    def status(self, name: str) -> str:
        return str(self.ask(f"cluster show {name}")["Status"])

    def why(self, name: str) -> str:
        """What is said of a cluster in Error; the client does not show it."""
        told = json.loads(self.cloud.onestack("doctor", "--json", expect=None).stdout)
        found = [one["why"] for one in told["remarks"] if name in one["what"]]
        return str(found[0]) if found else "nothing is said of it"

    def active(self, name: str, seconds: float = 900) -> dict[str, Any]:
        """Waited for; fails at once where sahara has given up."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask(f"cluster show {name}")
            if found["Status"] == "Error":
                ends = self.cloud.log_ends("sahara", "heat")
                raise CommandFailed(f"{name} is in Error: {self.why(name)}\n{ends}")
            return found if found["Status"] == "Active" else None

        found: dict[str, Any] = wait_until(f"the cluster {name}", look, seconds, 5)
        return found

    def servers(self) -> list[str]:
        return sorted(server["Name"] for server in self.json("server list"))
