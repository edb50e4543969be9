"""Being a service of systemd: telling it what goes on, and the unit's text."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
from pathlib import Path

from onestack.kernel import proc

ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONSAFEPATH": "1"}
"""For the zygote: threads of its children share two arenas instead of sixteen,
and nothing is imported from whatever the working directory is."""

_NONE = "run/supervisor/start-none"
_FRESH = 300.0
"""Seconds from the question to the supervisor's start, at most."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Notifier:
    """sd_notify(3), when ``NOTIFY_SOCKET`` asks for it; else it says nothing."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        microseconds = int(os.environ.pop("WATCHDOG_USEC", "0") or 0)
        os.environ.pop("WATCHDOG_PID", None)
        self.watchdog = microseconds / 2_000_000
        """Seconds between signs of life, half of what systemd allows; 0: none wanted."""

    def say(self, *words: str) -> None:
        """Such as ``READY=1``, ``STATUS=…``, ``STOPPING=1``, ``WATCHDOG=1``."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto("\n".join(words).encode(), self._address)


def ask_for_none(root: Path) -> None:
    """The supervisor that is started next, before the next boot, starts no process by itself."""
    place = root / _NONE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(_BOOT.read_text())


def forget_none(root: Path) -> None:
    """The start that `ask_for_none` was called for does not come."""
    (root / _NONE).unlink(missing_ok=True)


def asked_for_none(root: Path) -> bool:
    """Whether `ask_for_none` was called for this start: just now, and in this boot."""
    place = root / _NONE
    try:
        said, age = place.read_text(), time.time() - place.stat().st_mtime
        place.unlink()
    except FileNotFoundError:
        return False
    # a container that boots anew has the boot's name from its host
    return said == _BOOT.read_text() and age < _FRESH


def command(python: Path, roster: Path, *flags: str) -> list[str]:
    return [str(python), "-m", "onestack.supervise", "--roster", str(roster), *flags]


def unit(cloud: str, root: Path, python: Path, program: Path, roster: Path) -> str:
    """The text of the unit that runs a cloud's supervisor and starts all at boot."""
    start = shlex.join(command(python, roster, "--start-all"))
    environment = ENVIRONMENT | {"PYTHONPATH": str(program), proc.ROOT_VARIABLE: str(root)}
    lines = [f'Environment="{name}={value}"' for name, value in environment.items()]
    return "\n".join(
        [
            "[Unit]",
            f"Description=OpenStack cloud {cloud} (onestack)",
            "Wants=network-online.target",
            "After=network-online.target local-fs.target systemd-udevd.service",
            f"RequiresMountsFor={root}",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={start}",
            *lines,
            "Delegate=yes",
            # What a killed supervisor left is for the next one to end; guests are to go on.
            "KillMode=process",
            "OOMPolicy=continue",
            "Restart=always",
            "RestartSec=2",
            # A process that has given up waits for the operator, and the others serve meanwhile.
            "TimeoutStartSec=infinity",
            "TimeoutStopSec=3min",
            "WatchdogSec=180",
            "LimitNOFILE=524288",
            "TasksMax=infinity",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )
