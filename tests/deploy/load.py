"""Eight clients at once, as busy as they can be. Run inside the cloud's network.

    python3 load.py GIVEN

``GIVEN`` is JSON: ``seconds``, ``image``, ``flavor``, ``patience`` (seconds after which a thing
counts as stuck), and ``clients``: of each its ``OS_*`` variables. Says JSON: how many rounds each
client did, the longest that each kind of thing took to be there or to be gone (seconds), and what
went wrong. A round makes what a small server needs, and takes it away; in each third round the
server is deleted before it is there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.api import Api, Refused

PAUSE = 0.3


class InError(Refused):
    """A thing did not become what it was to be."""

    def __init__(self, service: str, kind: str, one: str, why: str) -> None:
        super().__init__(f"{kind} {one} is in error {why}")
        self.service, self.kind, self.one = service, kind, one


class Stuck(Refused):
    """Nothing happens to it any more."""


@dataclass
class Client:
    """One who makes and deletes; ``made`` is what it still has, the youngest last."""

    number: int
    given: dict[str, Any]
    api: Api
    rounds: int = 0
    slowest: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    made: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def patience(self) -> float:
        return float(self.given["patience"])

    def work(self, until: float) -> None:
        self.api.log_in()
        while time.monotonic() < until:
            self.try_(lambda: self.round(early=self.rounds % 3 == 2))
            self.try_(self.clear)
            if self.made:
                return
            self.rounds += 1

    def try_(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Refused as error:
            self.failures.append(f"client {self.number}, round {self.rounds}: {error}")

    def round(self, early: bool) -> None:
        network = self.make("network", "network", name=f"load-{self.number}")
        cidr: dict[str, Any] = {"ip_version": 4, "cidr": f"192.168.{self.number}.0/24"}
        subnet = self.make("network", "subnet", network_id=network, **cidr)
        group = self.make("network", "security_group", "security-groups", name="load")
        rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp"}
        self.api.post("network", "/security-group-rules", {"security_group_rule": rule})
        fixed: dict[str, Any] = {"network_id": network, "fixed_ips": [{"subnet_id": subnet}]}
        port = self.make("network", "port", **fixed, security_groups=[group])
        volume = self.make("block-storage", "volume", size=1)
        self.becomes("block-storage", "volume", volume, "available")
        snapshot = self.make("block-storage", "snapshot", volume_id=volume)
        self.becomes("block-storage", "snapshot", snapshot, "available")
        server = self.make(
            "compute",
            "server",
            name="load",
            imageRef=self.given["image"],
            flavorRef=self.given["flavor"],
            networks=[{"port": port}],
        )
        grow = {"os-extend": {"new_size": 2}}
        self.api.post("block-storage", f"/volumes/{volume}/action", grow)
        self.becomes("block-storage", "volume", volume, "available")
        if early:
            return
        self.becomes("compute", "server", server, "active")
        attachment = {"volumeAttachment": {"volumeId": volume}}
        self.api.post("compute", f"/servers/{server}/os-volume_attachments", attachment)
        # It goes with the server: nothing in that guest could give it up.
        self.becomes("block-storage", "volume", volume, "in-use")

    def make(self, service: str, kind: str, path: str = "", **body: Any) -> str:
        where = path or f"{kind}s"
        found: str = self.api.post(service, f"/{where}", {kind: body})[kind]["id"]
        self.made.append((service, where, found))
        return found

    def becomes(self, service: str, kind: str, one: str, wanted: str) -> None:
        begun = time.monotonic()
        while (found := self.api.get(service, f"/{kind}s/{one}")[kind])["status"].lower() != wanted:
            if found["status"].lower().startswith("error"):
                raise InError(service, kind, one, found.get("fault", ""))
            if time.monotonic() - begun > self.patience:
                raise Stuck(f"{kind} {one} is stuck in {found['status']}, not {wanted}")
            time.sleep(PAUSE)
        self.took(f"{kind} {wanted}", begun)

    def clear(self) -> None:
        while self.made:
            service, path, one = self.made[-1]
            self.api.delete(service, f"/{path}/{one}")
            begun = time.monotonic()
            while self.there(service, f"/{path}", one):
                if time.monotonic() - begun > self.patience:
                    raise Stuck(f"{path} {one} does not go")
                time.sleep(PAUSE)
            self.took(f"{path} gone", begun)
            self.made.pop()

    def there(self, service: str, path: str, one: str) -> bool:
        """By the list: asked for by its name, a thing that is gone looks like a refusal."""
        (listed,) = (v for v in self.api.get(service, path).values() if isinstance(v, list))
        return any(each["id"] == one for each in listed)

    def took(self, what: str, begun: float) -> None:
        self.slowest[what] = max(self.slowest.get(what, 0.0), time.monotonic() - begun)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    clients = [Client(n, given, Api(env)) for n, env in enumerate(given["clients"])]
    until = time.monotonic() + given["seconds"]
    with ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(client.work, until) for client in clients]:
            done.result()
    slowest: dict[str, float] = {}
    for client in clients:
        for what, seconds in client.slowest.items():
            slowest[what] = round(max(slowest.get(what, 0.0), seconds), 1)
    failures = [failure for client in clients for failure in client.failures]
    rounds = [client.rounds for client in clients]
    print(json.dumps({"rounds": rounds, "slowest": slowest, "failures": failures}))


if __name__ == "__main__":
    main()
