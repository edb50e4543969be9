"""The cloud's hosts are asked for a verb by their controller's command, all at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from onestack.cluster.asking import Spool, Waiting, now, pause
from onestack.cluster.following import Condition, Reports
from onestack.cluster.membership import Member
from onestack.cluster.protocol import AT_ONCE, Answer
from onestack.components import hosts
from onestack.components.door import verbs
from onestack.model.cloud import Cloud
from onestack.model.errors import NotYet, OnestackError
from onestack.supervise.client import Client
from onestack.supervise.states import State

COMES = 12.0
"""Seconds within which a host comes for its question, beside three times its pause: it may be
starting anew what comes."""
LOOK = 0.1
"""Seconds between two looks for an answer."""
NOT_ASKED = {
    "away": "see whether it runs and reaches this machine: on {name}, onestack status",
    "unheard": "on {name}, with the onestack that is here: onestack up",
    "joining": "wait until it has joined: onestack host list",
}
"""Conditions of a host that comes for no question, and what mends them."""
DOOR = ("door", "door-front")


@dataclass
class Questions:
    """What is asked of hosts, for as long as it is waited for."""

    cloud: Cloud
    verb: str
    seconds: float
    coming: float
    """Seconds within which a host comes for it, if it does."""
    asked: dict[str, Waiting | OnestackError]
    """By the hosts' names, in their order; or why one is not asked."""

    def answer(self, name: str) -> Answer:
        """That host's, once it is there. Raises `OnestackError`."""
        asked = self.asked[name]
        if isinstance(asked, OnestackError):
            raise asked
        while (found := asked.answer()) is None:
            passed = now() - (asked.ends - self.seconds)
            if asked.lost:
                raise OnestackError(
                    f"what {name} answered is lost",
                    "the cloud's door had it, and could not keep it",
                    "onestack logs door",
                )
            late = passed > min(self.coming, self.seconds)
            if late and not asked.taken and asked.take_back():
                raise self._does_not_come(name, asked.identity, passed)
            if passed > self.seconds:
                raise OnestackError(
                    f"{name} has not answered within {self.seconds:.0f} s",
                    f"it was given `{self.verb}`, and may have begun with it",
                    f"on {name}: onestack {self.verb}",
                )
            time.sleep(LOOK)
        return found

    def _does_not_come(self, name: str, identity: str, passed: float) -> OnestackError:
        heard = Reports.below(self.cloud.data / hosts.ROOM).of(identity)
        at = time.strftime("%H:%M:%S", time.localtime(heard.at)) if heard else ""
        return OnestackError(
            f"{name} does not come for what it is asked",
            f"not within {passed:.0f} s: it is away"
            + (f" (heard of last at {at})" if at else "")
            + f", or busy with {AT_ONCE} others, or has an older onestack; "
            "it will not run this later",
            f"see whether it runs and reaches this machine: on {name}, onestack status",
        )


@contextmanager
def questions(
    cloud: Cloud,
    meant: Iterable[tuple[Member, Condition]],
    of: int,
    verb: str,
    words: Sequence[str],
    seconds: float,
) -> Iterator[Questions]:
    """They are asked when this begins, and when it ends nobody is asked any more.

    ``of`` so many hosts, by which each is told how often to come.
    """
    place, closed = Spool(verbs.spool(cloud)), closed_door(cloud)
    asked: dict[str, Waiting | OnestackError] = {}
    try:
        for member, at in meant:
            if at.word in NOT_ASKED:
                asked[member.name] = _not_asked(member.name, at)
            elif closed:
                asked[member.name] = OnestackError(f"{member.name} cannot be asked", *closed)
            else:
                try:
                    asked[member.name] = place.ask(member.identity, verb, words, seconds)
                except OnestackError as error:
                    asked[member.name] = error
        yield Questions(cloud, verb, seconds, COMES + 3 * pause(of), asked)
    finally:
        for one in asked.values():
            if isinstance(one, Waiting):
                one.withdraw()


def closed_door(cloud: Cloud) -> tuple[str, str] | None:
    """Why no host comes by the cloud's door, and the cure; ``None`` where they do."""
    client = Client(cloud)
    if not client.running():
        return "the cloud is down here, and with it the door by which hosts come", "onestack up"
    try:
        found = {one.name: one for one in client.status() if one.name in DOOR}
    except NotYet:
        return None  # it may be there: another onestack's supervisor tells nothing
    except OnestackError as error:
        return f"nothing is known of the cloud's door: {error.what}", error.cure
    for name in DOOR:
        if name not in found:
            return "the cloud has no door", f"onestack up --set {hosts.JOIN}=y"
        if found[name].state is not State.READY:
            return f"the cloud's door is not ready: {name} {found[name].sentence}", "onestack up"
    return None


def _not_asked(name: str, at: Condition) -> OnestackError:
    return OnestackError(
        f"the host {name} {at.sentence}",
        "it was not asked, and will not run this later",
        NOT_ASKED[at.word].format(name=name),
    )
