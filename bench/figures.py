"""What every benchmark here measures with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


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


def named(pids: list[int], name: str) -> list[int]:
    """Those of ``pids`` that the supervisor calls ``name``."""

    def title(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""

    return [pid for pid in pids if title(pid).startswith(f"{name} [")]
