"""What users ask of a cloud, timed. Run inside the cloud's network, with ``OS_*`` variables.

    python3 uses.py IMAGE

Speaks with whoever measures, line by line: ``begin NAME`` on its output, and on its input a line
to go on; then ``end NAME SECONDS COUNT``. ``SECONDS`` are of one (the median of ``COUNT``), or
of all where the name says so; of a rate they are requests per second. What is made stays: the
cloud is to be destroyed. Python's standard library alone: what a client's own program costs is
not the cloud's.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.api import Api, Refused

NETWORKS = 100
SERVERS = 20
RULES = 20
TIMES = 20
CLIENTS = 8
SECONDS = 10.0
PAUSE = 0.05
READS = (
    ("identity", "/auth/projects"),
    ("image", "/images"),
    ("compute", "/servers"),
    ("network", "/ports?limit=20"),
    ("block-storage", "/volumes"),
)
"""What eight clients ask in turn; nearly all that a dashboard's pages ask."""
EMPTY = bytes(1 << 20)
"""A disk with nothing on it: a guest of it halts in its BIOS and takes no processor."""

Timed = Callable[[], float]


def phase(name: str, times: int, action: Timed) -> None:
    """Tell of ``action``, done ``times`` times; it answers its own seconds."""
    print("begin", name, flush=True)
    if not sys.stdin.readline():
        raise SystemExit("nobody measures any more")
    found = statistics.median(action() for _ in range(times))
    print("end", name, found, times, flush=True)


def clocked(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def waited(ask: Callable[[], str], wanted: str, seconds: float = 300) -> None:
    """Until the status is ``wanted``. Raises `Refused` for ``error``."""
    end = time.monotonic() + seconds
    while (status := ask().lower()) != wanted:
        if status == "error" or time.monotonic() > end:
            raise Refused(f"is {status}, not {wanted}")
        time.sleep(PAUSE)


class Uses:
    def __init__(self, image: Path) -> None:
        self.api = Api()
        self.api.log_in()
        self.image_file = image
        self.networks: list[str] = []
        self.number = 0

    def all(self) -> None:
        self.unlimited()
        phase("token", TIMES, lambda: clocked(self.api.log_in))
        self.network_things()
        self.volumes()
        self.servers()
        self.many_clients()

    def unlimited(self) -> None:
        """Upstream's default quotas are below what is made here."""
        project = self.api.project
        computing = dict.fromkeys(("instances", "cores", "ram"), -1)
        self.api.put("compute", f"/os-quota-sets/{project}", {"quota_set": computing})
        networks = dict.fromkeys(("network", "subnet", "port", "security_group_rule"), -1)
        self.api.put("network", f"/quotas/{project}", {"quota": networks})

    def network_things(self) -> None:
        create = [self._make("network", "network", name=f"bench-{n}") for n in range(NETWORKS)]
        self.networks = [network["id"] for network in create]
        phase(f"list of {NETWORKS} networks", TIMES, self._listed("network", "/networks"))
        free = iter(self.networks)

        def subnet() -> float:
            cidr = {"ip_version": 4, "cidr": "192.168.77.0/24"}
            return self._create("network", "subnet", network_id=next(free), **cidr)

        phase("subnet", TIMES, subnet)
        with_subnet = self.networks[0]
        port = lambda: self._create("network", "port", network_id=with_subnet)  # noqa: E731
        phase("port", TIMES, port)
        group = self._make("network", "security_group", name="bench", path="security-groups")

        def rules() -> float:
            ports = range(1000, 1000 + RULES)
            start = time.monotonic()
            for number in ports:
                self._rule(group["id"], number)
            return time.monotonic() - start

        phase(f"{RULES} rules, one by one", 1, rules)

    def volumes(self) -> None:
        # The first may wait for the scheduler to hear of the pool.
        self._volume()
        phase("volume", 5, self._volume)

    def servers(self) -> None:
        real = self._image("bench", "qcow2", self.image_file.read_bytes())
        empty = self._image("bench-empty", "raw", EMPTY)
        flavors = {
            name: self._make("compute", "flavor", name=name, ram=ram, vcpus=1, disk=1)["id"]
            for name, ram in (("bench", 192), ("bench-small", 64))
        }
        arguments = {"imageRef": real, "flavorRef": flavors["bench"]}
        phase("server to ACTIVE, first", 1, lambda: self._server(**arguments))
        phase("server to ACTIVE, later", 3, lambda: self._server(**arguments))
        many = self._post_server(
            imageRef=empty, flavorRef=flavors["bench-small"], min_count=SERVERS
        )
        ids = [s["id"] for s in self.api.get("compute", "/servers?name=bench-many")["servers"]]
        if many["id"] not in ids or len(ids) != SERVERS:
            raise Refused(f"{len(ids)} servers of {SERVERS}")
        for server in ids:
            waited(self._status("compute", f"/servers/{server}", "server"), "active")
        phase(f"list of {SERVERS} servers", TIMES, self._listed("compute", "/servers/detail"))

    def many_clients(self) -> None:
        phase(f"requests/s, {CLIENTS} clients", 1, lambda: rate(self.api.env, reading))
        phase(f"tokens/s, {CLIENTS} clients", 1, lambda: rate(self.api.env, logging_in))

    def _make(self, service: str, kind: str, path: str = "", **body: Any) -> dict[str, Any]:
        where = f"/{path or f'{kind}s'}"
        found: dict[str, Any] = self.api.post(service, where, {kind: body})[kind]
        return found

    def _create(self, service: str, kind: str, **body: Any) -> float:
        return clocked(lambda: self._make(service, kind, **body))

    def _listed(self, service: str, path: str) -> Timed:
        return lambda: clocked(lambda: self.api.get(service, path))

    def _rule(self, group: str, number: int) -> None:
        body = {
            "security_group_id": group,
            "direction": "ingress",
            "protocol": "tcp",
            "port_range_min": number,
            "port_range_max": number,
        }
        self._make("network", "security_group_rule", path="security-group-rules", **body)

    def _volume(self) -> float:
        start = time.monotonic()
        volume = self._make("block-storage", "volume", size=1, name="bench")["id"]
        waited(self._status("block-storage", f"/volumes/{volume}", "volume"), "available")
        return time.monotonic() - start

    def _image(self, name: str, form: str, data: bytes) -> str:
        body = {"name": name, "disk_format": form, "container_format": "bare"}
        image: str = self.api.post("image", "/images", body)["id"]
        self.api.upload(f"/images/{image}/file", data)
        return image

    def _post_server(self, **more: Any) -> dict[str, Any]:
        body = {"name": "bench-many", "networks": [{"uuid": self.networks[0]}], **more}
        found: dict[str, Any] = self.api.post("compute", "/servers", {"server": body})["server"]
        return found

    def _server(self, **more: Any) -> float:
        start = time.monotonic()
        path = f"/servers/{self._post_server(name='bench-one', **more)['id']}"
        waited(self._status("compute", path, "server"), "active")
        seconds = time.monotonic() - start
        self.api.delete("compute", path)
        self._gone("compute", path)
        return seconds

    def _status(self, service: str, path: str, kind: str) -> Callable[[], str]:
        return lambda: str(self.api.get(service, path)[kind]["status"])

    def _gone(self, service: str, path: str) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                self.api.get(service, path)
            except Refused:
                return
            time.sleep(PAUSE)
        raise Refused(f"{path} does not go")


def reading(api: Api) -> int:
    for service, path in READS:
        api.get(service, path)
    return len(READS)


def logging_in(api: Api) -> int:
    api.log_in()
    return 1


def rate(env: Mapping[str, str], action: Callable[[Api], int]) -> float:
    """Requests per second of all clients together, each one after another."""
    clients = [Api(env) for _ in range(CLIENTS)]
    for client in clients:
        client.log_in()
        action(client)
    begun = time.monotonic()

    def work(client: Api) -> int:
        done = 0
        while time.monotonic() - begun < SECONDS:
            done += action(client)
        return done

    with ThreadPoolExecutor(CLIENTS) as pool:
        total = sum(pool.map(work, clients))
    return total / (time.monotonic() - begun)


def main() -> None:
    Uses(Path(sys.argv[1])).all()


if __name__ == "__main__":
    main()
