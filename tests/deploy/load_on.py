"""Clients that go on whatever they are told, while the cloud's processes are killed.

    python3 load_on.py GIVEN

``GIVEN`` is JSON as of `load`, with ``while`` in the place of ``seconds``: they work as long as
that file is there. Each has a project of its own, and deletes all that is in it before its next
round: what it was told of a thing may have been lost. At the end each waits until nothing of its
own is on its way any more, and then deletes what is left.

Says JSON: how many rounds each has begun and brought to their end, how often each kind of refusal
came, and what nobody may find: things that are ``stuck``, things in error that are
``unexplained``, and things that cannot be deleted and are ``left``.
"""

from __future__ import annotations

import collections
import functools
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.api import Api, Refused
from tests.deploy.load import Client, InError, Stuck

FAILURES = (Refused, OSError, http.client.HTTPException, ValueError, KeyError)
"""What may come of an answer that was cut off as well as of one that says no."""
KINDS = (
    ("compute", "server", ""),
    *(("block-storage", "snapshot", ""), ("block-storage", "volume", "")),
    *(("network", "port", ""), ("network", "subnet", ""), ("network", "network", "")),
    ("network", "security_group", "security-groups"),
)
"""Who must go before whom: of each service, what it calls a thing, and where it has them."""
MOVING = KINDS[:3]
"""These have states, and ends of them that say why."""
MOMENT = 10.0
"""Seconds: state and reason are written one after the other."""
RESTING = ("active", "shutoff", "available", "in-use")


@dataclass
class Stubborn(Client):
    begun: int = 0
    refusals: collections.Counter[str] = field(default_factory=collections.Counter)
    stuck: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def work_on(self, sign: Path) -> None:
        """As long as there is a ``sign``."""
        while sign.exists():
            self.begun += 1
            if self.goes(self.one_round):
                self.rounds += 1
            else:
                time.sleep(1)
                self.goes(self.sweep)

    def one_round(self) -> None:
        self.made.clear()
        self.round(early=self.begun % 3 == 2)
        self.clear()

    def goes(self, action: Callable[[], None]) -> bool:
        """Whether it came to its end, by connections and a token of its own."""
        try:
            self.api.connections.clear()
            self.api.log_in()
            action()
        except FAILURES as error:
            if isinstance(error, Stuck):
                self.stuck.append(str(error))
            if isinstance(error, InError):
                self.goes(functools.partial(self.explain, error.service, error.kind, error.one))
            self.refused(error)
            return False
        return True

    def refused(self, error: Exception) -> None:
        self.refusals[f"{type(error).__name__}: {error}"[:60]] += 1

    def explain(self, service: str, kind: str, one: str) -> None:
        """Who has the thing can read why it is in error, at the latest a moment after it is."""
        until = time.monotonic() + MOMENT
        while not (told := self.told(service, kind, one)) and time.monotonic() < until:
            time.sleep(1)
        if not told:
            self.unexplained.append(f"{kind} {one}")

    def told(self, service: str, kind: str, one: str) -> bool:
        if kind == "server":
            said = self.api.get(service, f"/servers/{one}")["server"].get("fault", {})
            words = [said.get("message", "")]
        else:
            listed = self.api.get(service, f"/messages?resource_uuid={one}")["messages"]
            words = [message["user_message"] for message in listed]
        return any(words)

    def own(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """Service, kind, path and what is told of each thing in the project."""
        for service, kind, path in KINDS:
            where = f"/{path or f'{kind}s'}"
            # Networks of others are listed too, where they are shared.
            query = f"?project_id={self.api.project}" if service == "network" else "/detail"
            for each in self.api.get(service, f"{where}{query}")[f"{kind}s"]:
                if kind != "security_group" or each["name"] != "default":
                    yield service, kind, f"{where}/{each['id']}", each

    def sweep(self) -> None:
        """Delete all that is in the project, of which some may not want to go yet."""
        for service, _, path, _ in self.own():
            try:
                self.api.delete(service, path)
            except Refused as error:
                self.refused(error)

    def moving(self) -> list[str]:
        """What is on its way to another state."""
        return [
            f"{kind} {each['id']} is {each['status']} {each.get('OS-EXT-STS:task_state') or ''}"
            for service, kind, _, each in self.own()
            if (service, kind, "") in MOVING
            and (
                not each["status"].lower().startswith(("error", *RESTING))
                or each.get("OS-EXT-STS:task_state")
            )
        ]

    def settle(self) -> None:
        """Nothing of it is in between, who is in error says why, and all of it can be deleted."""
        self.api.connections.clear()
        self.api.log_in()
        until = time.monotonic() + self.patience
        while (moving := self.moving()) and time.monotonic() < until:
            time.sleep(2)
        self.stuck += moving
        for service, kind, _, each in self.own():
            if str(each.get("status", "")).lower().startswith("error"):
                self.explain(service, kind, each["id"])
        until = time.monotonic() + self.patience
        while (left := list(self.own())) and time.monotonic() < until:
            self.sweep()
            time.sleep(2)
        self.left += [f"{kind} {each['id']} {each.get('status', '')}" for _, kind, _, each in left]


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    clients = [Stubborn(n, given, Api(env)) for n, env in enumerate(given["clients"])]
    sign = Path(given["while"])
    with ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(client.work_on, sign) for client in clients]:
            done.result()
        for done in [pool.submit(client.settle) for client in clients]:
            done.result()
    refusals: collections.Counter[str] = collections.Counter()
    for client in clients:
        refusals += client.refusals
    said: dict[str, Any] = {
        "begun": [client.begun for client in clients],
        "ended": [client.rounds for client in clients],
        "refusals": dict(refusals.most_common()),
    }
    for what in ("stuck", "unexplained", "left"):
        said[what] = [each for client in clients for each in getattr(client, what)]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
