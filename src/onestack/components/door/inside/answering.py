"""A host answers what its controller asks of it: threads of the follower's process.

It asks the door every few seconds, by one connection that stays, whether there is a question. One
is a verb of `cluster.verbs` with words of its own vocabulary; it is run as root by the host's
supervisor, which allows these verbs and nothing else. Time is counted here from before the door
was asked: an answer that was long on its way makes nothing run that nobody waits for.
"""

from __future__ import annotations

import logging
import math
import os
import random
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import IO

from onestack.cluster import asking, verbs
from onestack.cluster.asking import ERR, OUT
from onestack.cluster.following import INTERVAL
from onestack.cluster.protocol import (
    AT_ONCE,
    LONGEST_ANSWER,
    Answer,
    Asked,
    Question,
    Refusal,
    said,
)
from onestack.model.errors import OnestackError

AWAY = 5.0
"""Seconds until a door that is not reached is asked again."""
AGAIN = 1.0
"""Seconds until an answer that did not arrive is sent again; twice as long each time."""
MARGIN = 2.0
"""Seconds for the answer's way back."""
SHORTEST = 1.0
UNENDED = (124, 137)
"""How `timeout` ends whose command did not, in time or at all."""
REFUSED = 2
LOG = logging.getLogger("onestack.answers")


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed; ``cut``: there was more."""

    code: int
    out: str
    err: str
    cut: bool = False


@dataclass
class Answering:
    ask: Callable[[], Asked]
    """Raises `OnestackError` and `OSError`."""
    send: Callable[[Answer], object]
    """Raises `OnestackError` and `OSError`."""
    run: Callable[[Question, int], Ran]
    """Has so many seconds."""
    now: Callable[[], float] = asking.now

    def __post_init__(self) -> None:
        self._said = ""
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def step(self) -> float:
        """Ask once, and have a thread answer. Returns after how many seconds to ask again."""
        with self._free:  # not before one of them is free
            began = self.now()
        try:
            asked = self.ask()
        except Refusal as error:
            self._say(error.what)
            return INTERVAL
        except (OnestackError, OSError) as error:
            self._say(str(error).partition("\n")[0])
            return AWAY
        self._say("")
        if asked.question:
            ends = began + asked.question.seconds
            threading.Thread(target=self.answer, args=(asked.question, ends)).start()
        told = asked.pause if math.isfinite(asked.pause) else asking.LONGEST_PAUSE
        return min(max(SHORTEST, told), asking.LONGEST_PAUSE)

    def answer(self, question: Question, ends: float) -> None:
        """Run it, and send what came of it, where somebody waits for it until ``ends``."""
        with self._free:
            left = ends - self.now() - MARGIN
            if not left >= 1:
                LOG.info("the controller asked for %.20s too late", question.verb)
                return
            if word := verbs.misfit(question.verb, question.options):
                what = f"onestack: this host runs no such thing for its controller: {word!r:.200}\n"
                ran = Ran(REFUSED, "", what)
            else:
                LOG.info("the controller asks for %s", " ".join((question.verb, *question.options)))
                ran = self.run(question, int(min(left, verbs.LONGEST)))
            self._send(_short(Answer(question.id, ran.code, ran.out, ran.err, ran.cut)), ends)

    def _send(self, answer: Answer, ends: float) -> None:
        pause = AGAIN
        while self.now() < ends:
            try:
                self.send(answer)
            except Refusal as error:
                LOG.info("the answer was refused: %s", error.what)
                return
            except (OnestackError, OSError) as error:
                LOG.info("the answer is not sent: %s", str(error).partition("\n")[0])
                time.sleep(pause)
                pause *= 2
            else:
                return

    def _say(self, what: str) -> None:
        """Once, and not each time."""
        if what != self._said and what:
            LOG.info("%s", what)
        self._said = what


def _short(answer: Answer) -> Answer:
    """As the door takes it: a byte that is no text takes six of an answer."""
    while answer.out and len(said(answer)) > LONGEST_ANSWER:
        answer = replace(answer, out=answer.out[len(answer.out) // 2 + 1 :], cut=True)
    return answer


def ran(command: Sequence[str], seconds: int, most: tuple[int, int] = (OUT, ERR)) -> Ran:
    """How ``command`` ended; of its output and errors the last so many bytes are kept."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        return Ran(1, "", f"onestack: the verb could not be run: {error}\n")
    until = time.monotonic() + seconds + MARGIN
    with process:
        out, err, cut = _read(process, until, most)
        try:
            code = process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            # It has root's one run, which its own time ends.
            process.kill()
            code = UNENDED[0]
    if code in UNENDED:
        err = f"{err}onestack: it has not ended within {seconds} s\n"
    return Ran(code if code >= 0 else 128 - code, out, err, cut)


def _read(
    process: subprocess.Popen[bytes], until: float, most: tuple[int, int]
) -> tuple[str, str, bool]:
    streams: list[IO[bytes]] = [s for s in (process.stdout, process.stderr) if s]
    kept, cut = {stream: bytearray() for stream in streams}, False
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                number = streams.index(key.fileobj)  # type: ignore[arg-type]
                stream = streams[number]
                data = os.read(stream.fileno(), 65536)
                kept[stream] += data
                if (over := len(kept[stream]) - most[number]) > 0:
                    del kept[stream][:over]
                    cut = True
                if not data:
                    selector.unregister(stream)
                    stream.close()
    out, err = (bytes(kept[stream]).decode(errors="replace") for stream in streams)
    return out, err, cut


def answer(answering: Answering) -> None:
    """For ever, in threads of this process, which ends with any of them that fails."""

    def failed(told: threading.ExceptHookArgs) -> None:
        sys.excepthook(told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback)
        os._exit(1)

    def for_ever() -> None:
        while True:
            # Not all hosts at once.
            time.sleep(answering.step() * random.uniform(0.9, 1.1))

    threading.excepthook = failed
    threading.Thread(target=for_ever, daemon=True).start()
