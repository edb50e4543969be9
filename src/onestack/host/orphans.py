"""Commands that a killed run left at work: the next run ends them before it begins anew.

Each command that may be cut short carries, in its environment, who ran it;
its descendants inherit that.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time

from onestack.kernel import proc

MARK = "ONESTACK_RUN"


def identity(pid: int) -> str:
    """``PID.START``: unlike that of any other process until the next boot; ``""`` when gone."""
    found = proc.stat(pid)
    return f"{pid}.{found.started}" if found and found.state not in "ZX" else ""


def orphans() -> list[int]:
    """Processes whose run has ended without them."""
    found = []
    for pid in proc.pids():
        run = proc.environment(pid).get(MARK.encode(), b"").decode(errors="replace")
        # Anybody may write anything there.
        who = re.match(r"\d{1,9}(?=\.)", run, re.ASCII)
        if who and identity(int(who[0])) != run and proc.numbered(pid):
            found.append(pid)
    return found


def end_orphans(seconds: float = 10.0) -> int:
    """Kill them, and wait until they are gone; returns how many there were.

    They are not asked politely: a run that was killed is like a power cut,
    and what they did is done anew.
    """
    until = time.monotonic() + seconds
    ended: set[int] = set()
    while (found := orphans()) and time.monotonic() < until:
        for pid in found:
            ended.add(pid)
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    poll = select.poll()
                    poll.register(descriptor, select.POLLIN)
                    poll.poll(1000)
                finally:
                    os.close(descriptor)
    return len(ended)
