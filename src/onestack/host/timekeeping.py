"""Who sets this machine's clock, and whether it may be set from here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from onestack.kernel import proc
from onestack.kernel.proc import PROC

NAMES = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",
    "ntpd-rs": "ntpd-rs",
    "openntpd": "openntpd",
    "systemd-timesyn": "systemd-timesyncd",
}
"""What /proc calls each (15 bytes), and its name."""
_SYS_TIME = 1 << 25
_WHOLE = "4294967295"


@dataclass(frozen=True)
class Keeper:
    """A program that sets the clock; ``root`` is that of the cloud it belongs to, or ``""``."""

    pid: int
    name: str
    root: str = ""


def keepers(at: Path = PROC) -> list[Keeper]:
    """All that run; one that was told to leave the clock alone (``chronyd -x``) is none."""
    found = []
    for pid in sorted(proc.pids(at)):
        name = proc.name(pid, at)
        if name in NAMES and not (name == "chronyd" and b"-x" in proc.arguments(pid, at)):
            found.append(Keeper(pid, NAMES[name], proc.root_of(pid, at)))
    return found


def may_set(at: Path = PROC) -> bool:
    """Whether we have the capability, and have it over the machine, not in a container's own."""
    try:
        status = (at / "self" / "status").read_text()
        users = (at / "self" / "uid_map").read_text().split()
    except OSError:
        return False
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    effective = int(lines.get("CapEff", "0").strip(), 16)
    return bool(effective & _SYS_TIME) and users[:3] == ["0", "0", _WHOLE] and os.geteuid() == 0
