"""What /proc knows: who belongs to a cloud, who descends from whom, who holds a port."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

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


def stat(pid: int) -> Stat | None:
    """``None`` for a process that is gone; zombies are still there, with state ``Z``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def environment(pid: int) -> dict[bytes, bytes]:
    """What it was executed with; empty when it is gone or not ours to see."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def command(pid: int, longest: int = 60) -> str:
    """Its command line, cut; ``[name]`` for one that has none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
        if words:
            text = words.decode(errors="replace")
            return text if len(text) <= longest else text[: longest - 1] + "…"
        return f"[{Path(f'/proc/{pid}/comm').read_text().strip()}]"
    except OSError:
        return "a process that has just ended"


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
        if environment(pid).get(ROOT_VARIABLE.encode()) == value and alive(pid) and _here(pid)
    }


def _here(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


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


def end_leftovers(root: Path, patience: float = 10.0) -> list[str]:
    """End what a killed supervisor of this cloud left running: TERM, then KILL.

    Blocks up to ``patience`` seconds and some more for the KILL. Returns the
    ended processes' command lines. Spares this process and its ancestors.
    """
    spared = ancestors(os.getpid())
    names: dict[int, str] = {}
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
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


def listener(port: int, address: str = "") -> tuple[int, str] | None:
    """Pid and command of who listens on a TCP port here, if it can be found out.

    ``address`` restricts it to listeners that cover this IPv4 address.
    """
    inodes = set(_listening_inodes(port, address))
    for pid in pids() if inodes else ():
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor.path) in inodes:
                        return pid, command(pid)
    return None


def _listening_inodes(port: int, address: str) -> Iterator[str]:
    wanted = (
        {"00000000", "".join(f"{int(p):02X}" for p in reversed(address.split(".")))}
        if (address.count(".") == 3)
        else None
    )
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                host, _, number = fields[1].rpartition(":")
                if fields[3] != "0A" or int(number, 16) != port:
                    continue
                if table == "tcp" and wanted and host not in wanted:
                    continue
                yield f"socket:[{fields[9]}]"
