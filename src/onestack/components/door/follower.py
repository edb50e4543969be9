"""What has a host that has joined keep up with its controller, and how far hosts have come."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from onestack.cluster.following import (
    JOINING,
    Condition,
    Reports,
    condition,
    pause,
    revision,
    shown,
)
from onestack.cluster.membership import Member, Membership
from onestack.cluster.protocol import Standing
from onestack.cluster.settings import DoorSettings
from onestack.components import hosts
from onestack.host.files import write_file
from onestack.kernel.files import sync_directory
from onestack.model.cloud import Cloud
from onestack.model.codec import from_plain


def conditions(cloud: Cloud) -> list[tuple[Member, Condition]]:
    """Of each host, as the controller knows it at this moment.

    Raises `OnestackError` where the list of hosts cannot be read.
    """
    place = cloud.data / hosts.ROOM
    members = Membership(place).document().members
    try:
        settings = DoorSettings.read(cloud.etc / hosts.ROOM / "door.json")
        edition = Path(settings.edition).read_text(encoding="ascii").strip()
        wanted = {m.identity: revision(settings.standing(m)) for m in members if m.admitted}
    except (OSError, ValueError) as error:
        # as after an update, before the first `up`
        unknown = Condition("unknown", "may be up to date or not: onestack up tells", str(error))
        return [(m, unknown if m.admitted else JOINING) for m in members]
    reports = Reports.below(place)
    return [
        (
            m,
            condition(reports.of(m.identity), wanted[m.identity], edition)
            if m.admitted
            else JOINING,
        )
        for m in members
    ]


def begin(cloud: Cloud) -> None:
    """On a host that has joined, before anything of it is changed: it is on its way.

    Until `finish` it was brought up with nothing: whatever it is half way to, and whatever its
    controller wants next, it brings itself up. No change that `up` tells: it ends as it was.
    """
    applied = hosts.applied(cloud.etc)
    if applied.exists():
        applied.unlink()
        sync_directory(applied.parent)


def finish(cloud: Cloud) -> None:
    """When all of it was done: what it was brought up with. Raises `OnestackError`."""
    kept = json.loads(hosts.standing(cloud.etc).read_text(encoding="utf-8"))
    text = revision(from_plain(Standing, kept["standing"])) + "\n"
    write_file(hosts.applied(cloud.etc), text, mode=0o640, group=cloud.user(hosts.ROOM))


def is_applied(cloud: Cloud, standing: Standing) -> bool:
    """Whether the host was brought up with that, to the end."""
    try:
        return hosts.applied(cloud.etc).read_text(encoding="ascii").strip() == revision(standing)
    except OSError:
        return False


def memory(cloud: Cloud) -> Path:
    """What the follower remembers of its last try."""
    return cloud.data / hosts.ROOM / "followed.json"


@dataclass(frozen=True)
class Behind:
    """Why a host is not as its controller wants it, by its own word."""

    problem: str
    again: float
    """When it tries once more (seconds since 1970); one that is past: whenever it asks next."""

    @property
    def sentence(self) -> str:
        left = pause(self.again - time.time())
        when = time.strftime("; it tries again at %H:%M:%S", time.localtime(time.time() + left))
        return f"{self.problem}{when if left else ''}"


def behind(cloud: Cloud) -> Behind | None:
    """On a host that has joined; ``None`` where nothing keeps it from following.

    Not root's own words: root sees them without what a terminal would obey.
    """
    try:
        raw = json.loads(memory(cloud).read_text(encoding="utf-8"))
        found = Behind(shown(str(raw["problem"])), float(raw["again"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return found if found.problem else None
