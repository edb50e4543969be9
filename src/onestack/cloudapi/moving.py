"""Servers of a host, moved elsewhere: one after the other, each waited for.

Whoever is killed meanwhile leaves nova with what it had begun: another run waits for that, and
goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from onestack.cloudapi.compute import Compute, Item
from onestack.model.errors import OnestackError

PAUSE = 1.0
"""Seconds until nova is asked again."""
SAID = 15.0
"""Seconds between two words on one that is under way."""
STUCK = 1800.0
"""Seconds for which nothing of a server changes."""
HOST = "OS-EXT-SRV-ATTR:host"
TASK = "OS-EXT-STS:task_state"
RUNNING = ("ACTIVE", "PAUSED")
"""States of servers that nova moves with their memory."""
STAYS = {
    "SHUTOFF": "it is stopped, and only servers that run are moved: start it, or shelve it and "
    "unshelve it",
    "SUSPENDED": "it is suspended: resume it first",
    "RESCUE": "it is in rescue mode: unrescue it first",
    "VERIFY_RESIZE": "its resize waits to be confirmed: confirm or revert it first",
    "ERROR": "it is in state ERROR: mend it (openstack server set --state active) or delete it",
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Left:
    """A server that is where it was, and why."""

    identity: str
    name: str
    why: str


@dataclass(frozen=True)
class Moving:
    """``say`` is told how far it is."""

    compute: Compute
    host: str
    say: Say

    def drained(self) -> list[Left]:
        """Each that can is moved as it runs; those that stay. Raises `OnestackError`."""
        return self._each("live-migration", _stays, self.compute.migrate_live)

    def evacuated(self) -> list[Left]:
        """Each is made anew elsewhere; those that are not. Raises `OnestackError`."""
        return self._each("evacuate", lambda server: "", self.compute.evacuate)

    def _each(
        self, action: str, stays: Callable[[Item], str], move: Callable[[str], str]
    ) -> list[Left]:
        left = []
        servers = self.compute.on_host(self.host)
        for number, listed in enumerate(servers, 1):
            identity, name, why = listed["id"], listed["name"], ""
            # Those before it took their time.
            server = self.compute.server(identity)
            if server is None or server[HOST] != self.host:
                continue
            # One that nova is at work on already is waited for.
            if not (_under_way(server) or self.compute.moves(identity)):
                why = stays(server) or move(identity)
            if not why:
                self.say(f"{name} ({identity}) moves: {number} of {len(servers)}")
                why = self._awaited(server, action)
            if why:
                self.say(f"{name} ({identity}) stays: {why}")
                left.append(Left(identity, name, why))
        return left

    def _awaited(self, server: Item, action: str) -> str:
        """Until it is elsewhere and well, or nova has given up: its words then."""
        identity, before = server["id"], None
        changed = said = time.monotonic()
        while True:
            # asked first: what is seen of the server then is how it ended
            over = not self.compute.moves(identity)
            now = self.compute.server(identity)
            if now is None:
                return ""  # deleted meanwhile
            if over and not now[TASK]:
                if now["status"] == "ERROR":
                    return str((now.get("fault") or {}).get("message") or "nova gave up")
                if now[HOST] != self.host:
                    self.say(f"{now['name']} is on {now[HOST]}")
                    return ""
                words = self.compute.why_failed(identity, action)
                return words or "nova gave up; see onestack logs nova-compute on both hosts"
            moment = time.monotonic()
            seen = (now[TASK], now["status"], now[HOST], _far(self.compute.progress(identity)))
            if seen != before:
                before, changed = seen, moment
            if moment - changed > STUCK:
                raise OnestackError(
                    f"the server {now['name']} ({identity}) does not get any further",
                    f"nova is at it ({now[TASK]}), and nothing changed for {STUCK:.0f} s",
                    "see onestack logs nova-compute on both hosts; openstack server migration "
                    "list; then run the same command again",
                )
            if moment - said > SAID and seen[-1]:
                said = moment
                self.say(f"{now['name']}: {seen[-1]}")
            time.sleep(PAUSE)


def _under_way(server: Item) -> bool:
    return str(server[TASK] or "").startswith(("migrating", "rebuild"))


def _stays(server: Item) -> str:
    """Why it cannot be moved as it runs; empty where nothing is known that speaks against it."""
    if server[TASK]:
        return f"nova is at work on it ({server[TASK]}): run the same command again later"
    if server["status"] not in RUNNING:
        return STAYS.get(server["status"], f"it is in state {server['status']}")
    return ""


def _far(migration: Item | None) -> str:
    """What is moved and what is left, in MiB."""
    if not migration:
        return ""
    words = []
    for what in ("disk", "memory"):
        total = migration.get(f"{what}_total_bytes") or 0
        left = migration.get(f"{what}_remaining_bytes") or 0
        if total:
            words.append(f"{left >> 20} MiB of {total >> 20} of its {what} are left")
    return ", ".join(words)
