"""What /proc knows: who belongs to a cloud, who descends from whom.

``at`` is where it is mounted; a test has one of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ROOT_VARIABLE = "ONESTACK_SUPERVISED"
"""In the environment of a cloud's supervisor and all that descends from it: the root."""
PROCESS_VARIABLE = "ONESTACK_PROCESS"
"""In the environment of what a process of the cloud executes: that process's name."""


@dataclass(frozen=True)
class Stat:
    """From ``/proc/PID/stat``; ``started`` is in clock ticks since boot, unlike any other pid's."""

    pid: int
    state: str
    parent: int
    session: int
    started: int


def stat(pid: int, at: Path = PROC) -> Stat | None:
    """``None`` for a process that is gone; zombies are still there, with state ``Z``."""
    try:
        text = (at / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def pids(at: Path = PROC) -> Iterator[int]:
    for name in os.listdir(at):
        if name.isdigit():
            yield int(name)


def name(pid: int, at: Path = PROC) -> str:
    """Of its program, 15 bytes at most; ``""`` when it is gone."""
    try:
        return (at / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def arguments(pid: int, at: Path = PROC) -> list[bytes]:
    """What it was executed with; nothing when it is gone, and for the kernel's own."""
    try:
        data = (at / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return data.rstrip(b"\0").split(b"\0") if data else []


def environment(pid: int, at: Path = PROC) -> dict[bytes, bytes]:
    """What it was executed with; empty when it is gone or not ours to see."""
    try:
        data = (at / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def root_of(pid: int, at: Path = PROC) -> str:
    """The root of the cloud that it belongs to, or ``""``."""
    return environment(pid, at).get(ROOT_VARIABLE.encode(), b"").decode(errors="replace")


def unit_of(pid: int, at: Path = PROC) -> str:
    """The machine's own service of systemd's that a process belongs to, or ``""``.

    Not that of a user's session, nor of a container, a terminal or the like below a service's.
    """
    try:
        groups = (at / str(pid) / "cgroup").read_text()
    except OSError:
        return ""
    found = re.findall(
        r"^\d+:(?:name=systemd)?:/system\.slice(?:/[^/\n]+\.slice)*/([^/\n]+\.service)$",
        groups,
        re.MULTILINE,
    )
    return found[-1] if found else ""


def namespace(pid: int | str, kind: str) -> str:
    """Which one of ``kind`` (``net``, ``pid``) it is in; ``""`` when it is gone."""
    try:
        return os.readlink(PROC / str(pid) / "ns" / kind)
    except OSError:
        return ""


def of_user(uid: int) -> Iterator[int]:
    """Live processes of a user."""
    for pid in pids():
        try:
            owner = os.stat(PROC / str(pid)).st_uid
        except OSError:
            continue
        if owner == uid and alive(pid):
            yield pid


def command(pid: int, longest: int = 60) -> str:
    """Its command line, cut; ``[name]`` for one that has none."""
    text = b" ".join(arguments(pid)).decode(errors="replace").strip()
    if text:
        return text if len(text) <= longest else text[: longest - 1] + "…"
    return f"[{name(pid)}]" if name(pid) else "a process that has just ended"


def alive(pid: int) -> bool:
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def belonging(root: Path) -> set[int]:
    """Live processes of the cloud at ``root``, its supervisor among them.

    Not those of a container on this machine, where the same path is another cloud.
    """
    value = os.fsencode(root)
    return {
        pid
        for pid in pids()
        if environment(pid).get(ROOT_VARIABLE.encode()) == value and alive(pid) and numbered(pid)
    }


def numbered(pid: int) -> bool:
    """Whether processes have the same numbers for it as for us: it is in no container."""
    return namespace(pid, "pid") == namespace("self", "pid") != ""


def children(pid: int) -> set[int]:
    """Its live children."""
    try:
        found: set[int] = set()
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            found.update(map(int, text.split()))
        return {child for child in found if alive(child)}
    except OSError:  # gone, or a kernel without this file
        entries = (stat(other) for other in pids())
        return {e.pid for e in entries if e and e.parent == pid and e.state not in "ZX"}


def left_by(orphans: Iterable[int], root: Path, process: str, session: int) -> set[int]:
    """Those of ``orphans`` that a process of the cloud left running, and their descendants.

    It shows by the session, or by the environment they were executed with.
    """
    found: set[int] = set()
    mark = (ROOT_VARIABLE.encode(), PROCESS_VARIABLE.encode())
    for pid in orphans:
        entry, values = stat(pid), environment(pid)
        own = tuple(values.get(name, b"") for name in mark) == (os.fsencode(root), process.encode())
        if own or (entry and entry.session == session):
            new = {pid}
            while new:
                found |= new
                new = set().union(*(children(p) for p in new)) - found
    return found


def ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        entry = stat(pid)
        pid = entry.parent if entry else 0
    return found


def send(targets: Iterable[int], number: int) -> None:
    for pid in targets:
        if pid > 1:  # 0 would be our own group
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def end_leftovers(root: Path, timeout: float = 10.0) -> list[str]:
    """End what a killed supervisor of this cloud left running: TERM, then KILL.

    Blocks up to ``timeout`` seconds and some more for the KILL. Returns the
    ended processes' command lines. Spares this process and its ancestors.
    """
    spared = ancestors(os.getpid())
    names: dict[int, str] = {}
    for number, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        left = belonging(root) - spared
        names |= {pid: command(pid) for pid in left if pid not in names}
        # those that run others go first, or they would start them again
        send(sorted(left), number)
        end = time.monotonic() + seconds
        while left and time.monotonic() < end:
            _wait_for_one(left, end - time.monotonic())
            left = {pid for pid in left if alive(pid)}
        if not left and not belonging(root) - spared:
            break
    return [f"{pid} ({name})" for pid, name in sorted(names.items())]


def _wait_for_one(targets: set[int], seconds: float) -> None:
    """Until one of them has ended (they need not be our children)."""
    import select

    poll = select.poll()
    descriptors = []
    for pid in targets:
        with contextlib.suppress(OSError):
            descriptors.append(os.pidfd_open(pid))
            poll.register(descriptors[-1], select.POLLIN)
    if descriptors:
        poll.poll(seconds * 1000)
    for descriptor in descriptors:
        os.close(descriptor)
