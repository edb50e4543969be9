"""Servers of a host, moved elsewhere: one after the other, each waited for.

Whoever is killed meanwhile leaves nova with what it had begun: another run waits for that, and
goes on with the rest. Servers that are off go with their disks, and stay off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from onestack.cloudapi.begun import Begun
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
OFF = "SHUTOFF"
WAITS = "VERIFY_RESIZE"
"""Of a server that has another host or flavor, and can go back until that is confirmed."""
STAYS = {
    "SUSPENDED": "it is suspended: resume it first",
    "RESCUE": "it is in rescue mode: unrescue it first",
    WAITS: "its resize waits to be confirmed: confirm or revert it first",
    "ERROR": "it is in state ERROR: mend it (openstack server set --state active) or delete it",
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Left:
    """A server that the host is not rid of, and why; ``there`` is whether it is on the host, and
    else it is elsewhere."""

    identity: str
    name: str
    why: str
    there: bool


@dataclass(frozen=True)
class Moving:
    """``say`` is told how far it is."""

    compute: Compute
    host: str
    begun: Begun
    say: Say

    def drained(self) -> list[Left]:
        """Each that can is moved, as it runs or as it is off; those that stay, and those elsewhere
        that may come back.

        Raises `OnestackError`.
        """
        left = self.ended() + self._each("live-migration", _stays, self._send)
        told = {one.identity for one in left}
        return left + [one for one in self._may_come_back() if one.identity not in told]

    def ended(self) -> list[Left]:
        """What another drain has begun that was killed: those that are elsewhere, and not well."""
        left = []
        for identity in self.begun.servers():
            server = self.compute.server(identity)
            if server is not None and (server["status"] == WAITS or _under_way(server, cold=True)):
                why = self._awaited(server, "migrate")
                left += [one for one in self._left(server, why) if not one.there]
            self._forget(identity)
        return left

    def _may_come_back(self) -> list[Left]:
        """Whoever moved them, or gave them another flavor: the host alone has what they were."""
        left = []
        for identity in self.compute.waiting(self.host):
            server = self.compute.server(identity)
            if server is not None and server["status"] == WAITS and server[HOST] != self.host:
                left += self._left(server, STAYS[WAITS])
        return left

    def _forget(self, identity: str) -> None:
        """What a drain has noted of it, unless it is still to be confirmed."""
        server = self.compute.server(identity)
        if server is None or server["status"] != WAITS:
            self.begun.drop(identity)

    def evacuated(self) -> list[Left]:
        """Each is made anew elsewhere; those that are not. Raises `OnestackError`."""
        move = self.compute.evacuate
        return self._each("evacuate", lambda server: "", lambda server: move(server["id"]))

    def _send(self, server: Item) -> str:
        """Nova's words where it will not."""
        identity = server["id"]
        if server["status"] != OFF:
            return self.compute.migrate_live(identity)
        newest: Item = next(iter(self.compute.migrations(identity)), {})
        self.begun.add(identity, newest.get("uuid", ""))
        why = self.compute.migrate_cold(identity)
        if why:
            self.begun.drop(identity)
        return why

    def _ours(self, identity: str) -> Item | None:
        """The move that waits to be confirmed, if a drain has begun it: the first one after what
        was noted. Of a second one nobody knows whose it is."""
        found = self.compute.migrations(identity)
        before = found[1]["uuid"] if found[1:] else ""
        if not found or self.begun.servers().get(identity) != before:
            return None
        kind = found[0]["migration_type"], found[0]["source_compute"]
        return found[0] if kind == ("migration", self.host) else None

    def _left(self, server: Item, why: str) -> list[Left]:
        now = self.compute.server(server["id"]) if why else None
        if now is None:
            return []
        there = now[HOST] == self.host
        self.say(f"{now['name']} ({now['id']}) {'stays' if there else 'is not done'}: {why}")
        return [Left(now["id"], now["name"], why, there)]

    def _each(
        self, action: str, stays: Callable[[Item], str], move: Callable[[Item], str]
    ) -> list[Left]:
        left: list[Left] = []
        servers = self.compute.on_host(self.host)
        for number, listed in enumerate(servers, 1):
            identity, name, why = listed["id"], listed["name"], ""
            # Those before it took their time.
            server = self.compute.server(identity)
            if server is None or server[HOST] != self.host:
                continue
            # One that nova is at work on already is waited for.
            if not (_under_way(server) or self.compute.moves(identity)):
                why = stays(server) or move(server)
            if not why:
                self.say(f"{name} ({identity}) moves: {number} of {len(servers)}")
                cold = identity in self.begun.servers()
                why = self._awaited(server, "migrate" if cold else action)
                if cold:
                    self._forget(identity)
            left += self._left(server, why)
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
                why = self._outcome(now, action)
                if why is not None:
                    return why
            moment = time.monotonic()
            far = _far(self.compute.progress(identity), now.get("progress"))
            seen = (now[TASK], now["status"], now[HOST], far)
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

    def _outcome(self, now: Item, action: str) -> str | None:
        """Of what nova is no more at; ``None``: it is once more, to confirm what we began."""
        identity = now["id"]
        if now["status"] == "ERROR":
            return str((now.get("fault") or {}).get("message") or "nova gave up")
        if now["status"] == WAITS:
            ours = self._ours(identity)
            if ours is None:
                return STAYS[WAITS]
            # it is confirmed a moment before its server says so
            return (ours["status"] == "finished" and self.compute.confirm(identity)) or None
        if now[HOST] != self.host:
            self.say(f"{now['name']} is on {now[HOST]}")
            return ""
        words = self.compute.why_failed(identity, action)
        return words or "nova gave up; see onestack logs nova-compute on both hosts"


def _under_way(server: Item, cold: bool = False) -> bool:
    """``cold`` is whether a drain has sent it as it was off."""
    tasks = ("migrating", "rebuild", *(("resize_",) if cold else ()))
    return str(server[TASK] or "").startswith(tasks)


def _stays(server: Item) -> str:
    """Why it cannot be moved; empty where nothing is known that speaks against it."""
    if server[TASK]:
        return f"nova is at work on it ({server[TASK]}): run the same command again later"
    if server["status"] not in (*RUNNING, OFF):
        return STAYS.get(server["status"], f"it is in state {server['status']}")
    return ""


def _far(migration: Item | None, percent: int | None) -> str:
    """What is moved and what is left, in MiB; of one that is off how much of a disk is copied."""
    if not migration:
        return f"{percent} % of a disk are copied" if percent else ""
    words = []
    for what in ("disk", "memory"):
        total = migration.get(f"{what}_total_bytes") or 0
        left = migration.get(f"{what}_remaining_bytes") or 0
        if total:
            words.append(f"{left >> 20} MiB of {total >> 20} of its {what} are left")
    return ", ".join(words)
