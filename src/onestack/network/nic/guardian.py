"""The dead man's switch: a program of its own that rolls a move back unless somebody keeps it.

It waits at a pipe. Once the writer has closed it or is gone, or the time is over, it looks into
the journal: what is kept there, or rolled back already, is left alone, and all else is rolled
back. It has its own session, so that a lost terminal does not take it along.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onestack
from onestack.host.command import environment
from onestack.host.locks import Tell, silent
from onestack.host.orphans import MARK
from onestack.kernel.proc import ROOT_VARIABLE
from onestack.model.errors import OnestackError
from onestack.network.nic.journal import TRYING, Journal
from onestack.network.nic.transaction import roll_back

AGAIN, PERSISTS = 3.0, 300.0
"""Seconds after which it tries what has failed once more, and for how long."""
PATIENCE = 30.0
"""Seconds that whoever typed the command waits for it."""
LONGEST = 86400.0
"""Seconds that it waits at most, whatever it is told."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guardian:
    """``log`` is where it says what it did, for whoever's session was lost."""

    def __init__(self, journal: Journal, seconds: float, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        env = environment({"PYTHONPATH": str(Path(onestack.__file__).parents[1])})
        # Neither what ends what this run has started is to end it, nor a supervisor.
        env = {name: value for name, value in env.items() if name not in (MARK, ROOT_VARIABLE)}
        words = [sys.executable, "-m", __name__, str(journal.path), str(seconds)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=env,
                cwd="/",
                start_new_session=True,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.rest()
            raise OnestackError(
                "the host's network is not touched",
                "the program that would put it back could not be started",
                f"look into {log}",
            )

    def rest(self) -> None:
        """It is told that nobody works on it any more, and does what the journal wants of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        # Where that takes long it goes on without us, and its log says how it ended.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self._process.stdout.close()


@contextmanager
def guarded(journal: Journal, seconds: float, log: Path, tell: Tell = silent) -> Iterator[None]:
    """What goes wrong inside is rolled back here; what cannot be, or where we are killed, by it."""
    guardian = Guardian(journal, seconds, log)
    try:
        try:
            yield
        except BaseException:
            with undisturbed():
                _put_back(journal, guardian, tell)
            raise
    finally:
        guardian.rest()


def put_back(journal: Journal, seconds: float, log: Path, tell: Tell = silent) -> bool:
    """`roll_back` of what somebody else has begun, to its end; whether there was any.

    Whoever stops us meanwhile has to wait; where we are killed a guardian does it.
    """
    found = journal.read()
    if found is None or found.state != TRYING:
        return False
    with undisturbed() as stopped:
        guardian = None
        # Where none can be had (a full disk), that is no reason to leave it half moved.
        with contextlib.suppress(OnestackError, OSError):
            guardian = Guardian(journal, seconds, log)
        try:
            _put_back(journal, guardian, tell)
        finally:
            if guardian:
                guardian.rest()
    for number in stopped[:1]:
        signal.raise_signal(number)
    return True


def _put_back(journal: Journal, guardian: Guardian | None, tell: Tell) -> None:
    try:
        roll_back(journal, tell)
    except (OnestackError, OSError):
        if guardian:
            guardian.rest()
        left = journal.read()
        if left and left.state == TRYING:
            raise


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Whoever wants to stop us has to wait: the signals that came.

    (Ignored ones would be so for what we start.)
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        # Those who have threads of theirs have their own handlers.
        yield came
        return
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in STOPPING}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(path: str, seconds: str) -> int:
    with undisturbed():
        # Whoever reads that counts on it: what could go wrong has to have done so by then.
        wait = min(max(float(seconds), 0.0), LONGEST)
        os.write(1, b"ready\n")
        select.select([0], [], [], wait)
        return _end(Journal(Path(path)))


def _end(journal: Journal) -> int:
    until = time.monotonic() + PERSISTS
    while True:
        try:
            if roll_back(journal, _say):
                _say(f"{journal.nic}: put back, for nobody has kept it")
            return 0
        except (OnestackError, OSError) as error:
            _say(f"{journal.nic}: {error}")
        if time.monotonic() > until:
            return 1
        time.sleep(AGAIN)


def _say(text: str) -> None:
    # A full disk is no reason to stop.
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%F %T')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
