"""The dead man's switch: a program of its own that rolls a move back unless it is told not to.

It reads from a pipe. ``kept`` ends it; when the writer is gone without a word, or the time is
over, it rolls back. It has its own session, so that a lost terminal does not take it along.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onestack
from onestack.host.command import environment
from onestack.host.orphans import MARK
from onestack.kernel.proc import ROOT_VARIABLE
from onestack.model.errors import OnestackError
from onestack.network.nic.journal import Journal
from onestack.network.nic.transaction import roll_back

KEPT = b"kept"


class Guardian:
    """``log`` is where it says what it did, for whoever's session was lost."""

    def __init__(self, journal: Journal, seconds: float, log: Path) -> None:
        self.deadline = time.monotonic() + seconds
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

    @property
    def left(self) -> float:
        """Seconds until it acts."""
        return max(0.0, self.deadline - time.monotonic())

    def rest(self) -> None:
        """All is said: kept, or rolled back by us."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(KEPT)
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def guarded(journal: Journal, seconds: float, log: Path) -> Iterator[Guardian]:
    """What goes wrong inside is rolled back here; where we are killed, by the guardian."""
    guardian = Guardian(journal, seconds, log)
    try:
        try:
            yield guardian
        except BaseException:
            roll_back(journal)
            raise
    finally:
        guardian.rest()


def main(path: str, seconds: str) -> int:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    journal, until = Journal(Path(path)), time.monotonic() + float(seconds)
    os.write(1, b"ready\n")
    while (left := until - time.monotonic()) > 0:
        if select.select([0], [], [], left)[0]:
            if os.read(0, len(KEPT)):
                return 0
            break
    print(f"{time.strftime('%F %T')} {journal.nic}: nobody has kept it", file=sys.stderr)
    try:
        done = roll_back(journal)
    except OnestackError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{journal.nic}: {'put back' if done else 'there is nothing to undo'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
