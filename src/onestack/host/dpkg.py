"""What dpkg knows: installed packages, unfinished work, who holds its lock."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from onestack.host.command import run
from onestack.kernel import proc
from onestack.model.errors import OnestackError
from onestack.model.run import this_run

ADMIN = Path("/var/lib/dpkg")
LOCKS = ("lock-frontend", "lock")


def installed(names: Iterable[str] | None = None, admin: Path = ADMIN) -> dict[str, str]:
    """Those of ``names`` (of all) that are wholly installed, with their versions.

    dpkg's own status file is read: that is quicker than a program that prints it.
    """
    found: dict[str, str] = {}
    # What an interrupted dpkg has not merged into the file yet counts more, the latest most.
    journal = sorted(p for p in (admin / "updates").glob("*") if p.name.isdigit())
    for file in (admin / "status", *journal):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        for entry in text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in entry.split("\n") if _counts(line))
            if fields.get("Status", "").endswith(" installed"):
                found[fields["Package"]] = fields.get("Version", "")
            elif file in journal:
                found.pop(fields.get("Package", ""), None)
    return found if names is None else {name: found[name] for name in names if name in found}


def _counts(line: str) -> bool:
    return line.startswith(("Package: ", "Status: ", "Version: "))


def candidates(names: Iterable[str]) -> dict[str, str]:
    """The version that apt would install of each, or ``""``."""
    found = dict.fromkeys(names, "")
    if not found:
        return found
    answer = run(["apt-cache", "policy", *found], check=False, timeout=60)
    name = ""
    for line in answer.out.splitlines():
        key, _, value = line.strip().partition(":")
        if not line.startswith(" "):
            name = key
        elif key == "Candidate" and name in found and value.strip() != "(none)":
            found[name] = value.strip()
    return found


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
            tell(f"waiting for process {pid} ({proc.command(pid)}), which works with packages")
        if time.monotonic() >= until or this_run().stop.is_set():
            who = f"process {pid} ({proc.command(pid)})"
            raise OnestackError(
                "packages cannot be installed now",
                f"{who} holds dpkg's lock for more than {seconds:g} s",
                f"wait until it ends (ps -p {pid}), then run the same command again",
            )
        time.sleep(0.5)
