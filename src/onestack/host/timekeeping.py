"""Who sets this machine's clock, and whether it may be set from here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
NAMES = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",
    "ntpd-rs": "ntpd-rs",
    "openntpd": "openntpd",
    "systemd-timesyn": "systemd-timesyncd",
}
"""What /proc calls each (15 bytes), and its name."""
MARK = b"ONESTACK_SUPERVISED="
"""`onestack.kernel.proc.ROOT_VARIABLE`."""
_SYS_TIME = 1 << 25
_WHOLE = "4294967295"


@dataclass(frozen=True)
class Keeper:
    """A program that sets the clock; ``root`` is that of the cloud it belongs to, or ``""``."""

    pid: int
    name: str
    root: str = ""


def keepers(proc: Path = PROC) -> list[Keeper]:
    """All that run; one that was told to leave the clock alone (``chronyd -x``) is none."""
    found = []
    for place in proc.iterdir():
        if not place.name.isdigit():
            continue
        try:
            name = (place / "comm").read_text().strip()
            if name not in NAMES:
                continue
            words = (place / "cmdline").read_bytes().split(b"\0")
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if name == "chronyd" and b"-x" in words:
            continue
        roots = [v.removeprefix(MARK).decode() for v in variables if v.startswith(MARK)]
        found.append(Keeper(int(place.name), NAMES[name], roots[0] if roots else ""))
    return sorted(found, key=lambda keeper: keeper.pid)


def may_set(proc: Path = PROC) -> bool:
    """Whether we have the capability, and have it over the machine, not in a container's own."""
    try:
        status = (proc / "self" / "status").read_text()
        users = (proc / "self" / "uid_map").read_text().split()
    except OSError:
        return False
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    effective = int(lines.get("CapEff", "0").strip(), 16)
    return bool(effective & _SYS_TIME) and users[:3] == ["0", "0", _WHOLE] and os.geteuid() == 0
