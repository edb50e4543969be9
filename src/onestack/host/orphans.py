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
from pathlib import Path

MARK = "ONESTACK_RUN"
PROC = Path("/proc")


def identity(pid: int) -> str:
    """``PID.START``: unlike that of any other process until the next boot; ``""`` when gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{pid}.{fields[19]}"


def orphans() -> list[int]:
    """Processes whose run has ended without them."""
    wanted = f"{MARK}=".encode()
    found = []
    for name in os.listdir(PROC):
        if not name.isdigit():
            continue
        try:
            entries = (PROC / name / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in entries:
            if entry.startswith(wanted):
                run = entry.removeprefix(wanted).decode(errors="replace")
                # Anybody may write anything there.
                pid = re.match(r"\d{1,9}(?=\.)", run, re.ASCII)
                if pid and identity(int(pid[0])) != run and _here(name):
                    found.append(int(name))
    return found


def _here(pid: str) -> bool:
    """Not in a container, where processes have other numbers."""
    try:
        return os.readlink(PROC / pid / "ns/pid") == os.readlink(PROC / "self/ns/pid")
    except OSError:
        return False


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
