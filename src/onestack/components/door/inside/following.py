"""A host keeps up with its controller: a child of its supervisor (services' environment).

It asks the door, as the user that may read the host's certificate, and where something else is
wanted than what the host was brought up with, it has the supervisor run the one command that it
may have run as root: `onestack up`, as it would be typed. What fails is tried again, later each
time; what was tried is written down first, so that nothing that ends this process makes it hurry.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket

from onestack.cluster import protocol
from onestack.cluster.client import DoorClient, Line, Place
from onestack.cluster.following import INTERVAL, LONGEST
from onestack.cluster.protocol import Asked, Following, Question, Refusal, Wanted
from onestack.components.door.inside import answering
from onestack.components.door.inside.admitting import problem, ran
from onestack.components.door.inside.answering import Answering, Ran
from onestack.kernel.files import write
from onestack.model.codec import from_plain, to_plain
from onestack.model.errors import OnestackError
from onestack.model.process import Process
from onestack.runtime.notify import tell_ready

FIRST, LAST = 60.0, 3600.0
"""Seconds until what failed is tried again: at first, and at most."""
UNENDED = "onestack up was stopped, or has not ended yet"
IDLE = "onestack up ended well and changed nothing"
OTHER = "this host has another onestack than the controller, and does not follow it"
LOG = logging.getLogger("onestack.follower")


@dataclass(frozen=True)
class Tried:
    """What was tried last; kept, and shown by `status` and `doctor`."""

    wanted: str = ""
    times: int = 0
    again: float = 0.0
    """Not before then (seconds since 1970)."""
    problem: str = ""
    """Why it is not as the controller wants it; nothing: it is, or will be."""
    ended: bool = False
    """Whether this process has seen how it ended."""


@dataclass
class Follower:
    """``applied`` and ``edition`` are files that `up` writes; ``memory`` is this process's own."""

    applied: Path
    edition: Path
    memory: Path
    ask: Callable[[Following], Wanted]
    """Raises `OnestackError`."""
    bring_up: Callable[[], str]
    """What kept it from ending well; nothing if it did."""
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._said = self._unkept = ""
        try:
            self._tried = from_plain(Tried, json.loads(self.memory.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            self._tried = Tried()

    def step(self) -> None:
        """Ask once, and do what is to be done."""
        own, edition, tried = _text(self.applied), _text(self.edition), self._tried
        left = max(0.0, tried.again - self.now()) if tried.problem else 0.0
        told = tried.problem or self._unkept
        word = Following(own, edition, problem=told[:LONGEST], again=left)
        try:
            wanted = self.ask(word)
        except OnestackError as error:
            self._say(error.what)
            # Not where it is away: it comes back, and the machine does its work meanwhile.
            if isinstance(error, Refusal):
                if error.gone or error.exit_code == 2:
                    self._remember(Tried(problem=error.what if error.gone else OTHER))
                elif not tried.problem:
                    self._remember(replace(tried, problem=error.what))
            return
        if wanted.edition != edition:
            self._say(OTHER)
            self._remember(Tried(problem=OTHER))
            return
        if wanted.revision == own and not wanted.renew:
            self._say("up to date")
            self._remember(Tried())
            return
        key = f"{wanted.revision}{' renew' if wanted.renew else ''}"
        # Further away than any try is: it was written down by a clock that was wrong.
        if tried.wanted == key and 0 < tried.again - self.now() <= LAST:
            # Not at once once more, also where it was brought up well and is still not there.
            found = tried.problem or (IDLE if tried.ended else UNENDED)
            self._remember(replace(tried, problem=found))
            return
        self._try(key, word)

    def _try(self, key: str, word: Following) -> None:
        times = self._tried.times + 1 if self._tried.wanted == key else 1
        pause = min(FIRST * 2 ** min(times - 1, 10), LAST)
        self._remember(Tried(key, times, self.now() + pause, self._tried.problem))
        LOG.info("the controller wants something else: onestack up")
        try:
            self.ask(replace(word, trying=True))
        except OnestackError as error:
            self._say(error.what)
        found = self.bring_up()
        self._remember(Tried(key, times, self.now() + pause, found[:LONGEST], ended=True))
        LOG.info("%s", found or "done")
        self._said = ""

    def _remember(self, tried: Tried) -> None:
        """Also where it cannot be written down: that is said, and nothing ends by it."""
        if tried == self._tried and not self._unkept:
            return
        self._tried = tried
        try:
            write(self.memory, json.dumps(to_plain(tried)) + "\n", 0o600)
        except OSError as error:
            before = self._unkept
            self._unkept = f"{self.memory} cannot be written: {error.strerror or error}"
            if self._unkept != before:
                LOG.info("%s", self._unkept)
        else:
            self._unkept = ""

    def _say(self, what: str) -> None:
        """Once, and not each time."""
        if what != self._said:
            self._said = what
            LOG.info("%s", what)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def up(command: tuple[str, ...]) -> str:
    """What kept `onestack up` from ending well."""
    try:
        code, text = ran(command)
    except OSError as error:
        return f"onestack up cannot be run: {error}"
    if code == 0:
        return ""
    if code is None:
        return "onestack up has not ended yet"
    why, cure = problem(text)
    return "\n".join(filter(None, (why or f"onestack up ended with {code}", cure)))


def follow(spec: Process, sockets: dict[str, socket]) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    lists = ("command", "verb", "cloud")
    told = {name: str(value) for name, value in spec.arguments.items() if name not in lists}
    command, verb, cloud = (tuple(map(str, spec.arguments[name])) for name in lists)

    def client() -> DoorClient:
        # Read each time: what is shown is another one once it was renewed.
        own = Path(told["certificate"]), Path(told["key"])
        return DoorClient(Place.read(told["door"]), Path(told["ca"]).read_text(), own)

    def ask(word: Following) -> Wanted:
        return client().ask("POST", protocol.FOLLOW, Wanted, word)

    def run(question: Question, seconds: int) -> Ran:
        words = (str(seconds), told["launcher"], question.verb, *cloud, *question.options)
        return answering.ran((*verb, *words), seconds)

    line = Line(client)
    answers = Answering(
        lambda: line.ask(protocol.ASKED, Asked),
        lambda answer: client().ask("POST", protocol.ANSWER, dict[str, str], answer),
        run,
    )
    applied, edition, memory = (Path(told[name]) for name in ("applied", "edition", "memory"))
    follower = Follower(applied, edition, memory, ask, lambda: up(command))
    answering.answer(answers)
    tell_ready()
    while True:
        follower.step()
        # Not all hosts at once.
        time.sleep(INTERVAL + random.uniform(0, INTERVAL / 3))
