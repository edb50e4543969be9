"""What every benchmark here measures with."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

Spent = dict[str, float]
"""By a name (of a process, of a step) what it has of a figure."""


def timed(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def processes(root: Path) -> list[int]:
    """Pids whose environment names the cloud, and its guests (their command line does)."""
    mark = f"ONESTACK_SUPERVISED={root}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if mark in environment or str(root).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def by_cmdline(fits: Callable[[list[str]], bool]) -> list[int]:
    """Pids that ``fits`` finds by the words of their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if fits(words):
                found.append(int(entry.name))
    return found


def pss(pids: list[int]) -> float:
    """MiB of memory, shared pages divided among their users (/proc/PID/smaps_rollup)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


GUEST = "qemu-system"


def without_guests(pids: list[int]) -> list[int]:
    guests = set(by_cmdline(lambda words: GUEST in words[0]))
    return [pid for pid in pids if pid not in guests]


def called(pid: int) -> str:
    """What a process is called in its cloud; ``""`` when it is gone.

    Whoever starts it says so in its environment, and a title that it gave itself says it where
    that has overwritten the environment.
    """
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    for variable in variables:
        name, _, value = variable.partition("=")
        if name in ("ONESTACK_PROCESS", "CONVENTIONAL_UNIT"):
            return value
    return re.split(r" [\[(]|: ", Path(words[0]).name if " " not in words[0] else words[0])[0]


def cpu(pids: list[int]) -> dict[int, tuple[str, float]]:
    """Of each its name, and the seconds that it and its ended children have computed."""
    found = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime, cutime and cstime, in proc(5)'s 14 to 17
        found[pid] = called(pid), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def spent(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]]) -> Spent:
    """Seconds of computing between two looks, by name, the most first."""
    total: Spent = {}
    for pid, (name, seconds) in after.items():
        more = seconds - before.get(pid, ("", 0.0))[1]
        if more > 0:
            total[name] = total.get(name, 0) + more
    return dict(sorted(total.items(), key=lambda each: -each[1]))


def pss_by_name(pids: list[int]) -> Spent:
    """MiB by name, the most first."""
    total: Spent = {}
    for pid in pids:
        if (name := called(pid)) and (share := pss([pid])):
            total[name] = total.get(name, 0) + share
    return dict(sorted(total.items(), key=lambda each: -each[1]))


def named(pids: list[int], name: str) -> list[int]:
    """Those of ``pids`` that the supervisor calls ``name``."""

    def title(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""

    return [pid for pid in pids if title(pid).startswith(f"{name} [")]
