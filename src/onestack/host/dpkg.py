"""What dpkg knows: installed packages, unfinished work, who holds its lock."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from onestack.host.command import abort, run
from onestack.model.errors import OnestackError

ADMIN = Path("/var/lib/dpkg")
LOCKS = ("lock-frontend", "lock")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Those of ``names`` that are wholly installed, with their versions."""
    names = list(names)
    if not names:
        return {}
    answer = run(
        ["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n", *names],
        check=False,
        timeout=60,
    )
    found = {}
    for line in answer.out.splitlines():
        name, version, status = line.split("\t")
        if status == "installed":
            found[name] = version
    return found


def candidate(name: str) -> str:
    """The version that is installed, else the one apt would install, else ``""``."""
    if version := installed([name]).get(name):
        return version
    answer = run(["apt-cache", "policy", name], check=False, timeout=60)
    for line in answer.out.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Candidate" and value != "(none)":
            return value.strip()
    return ""


def at_least(version: str, wanted: str) -> bool:
    """Debian's own comparison; an unknown version (``""``) is never enough."""
    if not version:
        return False
    return run(["dpkg", "--compare-versions", version, "ge", wanted], check=False, timeout=20).ok


def unfinished(admin: Path = ADMIN) -> bool:
    """Whether an earlier install died half way."""
    if any(p.name.isdigit() for p in (admin / "updates").glob("*")):
        return True
    return bool(run(["dpkg", "--audit"], check=False, timeout=60).out.strip())


def lock_holder(admin: Path = ADMIN) -> int | None:
    """The pid of whoever holds one of dpkg's locks."""
    for name in LOCKS:
        try:
            descriptor = os.open(admin / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            # struct flock: type, whence, start, length, pid
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
        finally:
            os.close(descriptor)
        kind, _, _, _, pid = struct.unpack("hhqqi4x", answer)
        if kind != fcntl.F_UNLCK:
            return int(pid)
    return None


def command_of(pid: int) -> str:
    """What ``pid`` runs, as ``ps`` shows it, or ``""``."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace").strip() or (
            Path(f"/proc/{pid}/comm").read_text().strip()
        )
    except OSError:
        return ""


def wait_for_lock(
    seconds: float = 120.0,
    admin: Path = ADMIN,
    tell: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Wait until nobody else works with dpkg. Raises `OnestackError` naming who still does."""
    until = time.monotonic() + seconds
    told = 0
    while (pid := lock_holder(admin)) is not None:
        if pid != told:
            told = pid
            tell(f"waiting for process {pid} ({command_of(pid)}), which works with packages")
        if time.monotonic() >= until or abort.is_set():
            raise OnestackError(
                "packages cannot be installed now",
                f"process {pid} ({command_of(pid)}) holds dpkg's lock for more than {seconds:g} s",
                f"wait until it ends (ps -p {pid}), then run the same command again",
            )
        time.sleep(0.5)
