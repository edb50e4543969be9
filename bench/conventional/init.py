"""The first process of a conventional cloud's namespaces: its mounts, and its units.

    unshare --net --mount --pid --fork … python3 init.py ROOT MOUNTS

Takes the part that systemd has on peers' machines, and is not counted among the cloud's
processes as that is not. Knows nothing of OpenStack and needs Python's standard library only.
``MOUNTS`` is a JSON list of pairs: a directory or file of the cloud's, and its place. At
``ROOT/init.sock`` it takes one JSON object per connection and answers with another:

- ``{"start": [{"name", "argv", "env"}, …]}``: units; each logs to ``ROOT/log/NAME.log``. One
  that ends is started again, as units with ``Restart=always`` are.
- ``{"stop": ["NAME", …], "seconds": 30}``: SIGTERM to each, and SIGKILL to what is left of its
  session when the time is over.
- ``{"clear": true}``: what no unit is goes too: daemons that agents have started.
- ``{"state": true}``: pid and starts of each unit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAUSE = 0.1
"""systemd's RestartSec."""


class Units:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.declared: dict[str, dict[str, Any]] = {}
        self.running: dict[str, int] = {}
        self.starts: dict[str, int] = {}
        self.due: dict[str, float] = {}

    def start(self, name: str) -> None:
        unit = self.declared[name]
        with (self.root / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                unit["argv"],
                env=unit["env"] | {"CONVENTIONAL_UNIT": name},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = process.pid
        # Reaped here, with all the orphans.
        process.returncode = 0
        self.starts[name] = self.starts.get(name, 0) + 1
        self.due.pop(name, None)

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for name, known in list(self.running.items()):
                    if known == pid:
                        del self.running[name]
                        if name in self.declared:
                            self.due[name] = time.monotonic() + PAUSE

    def restart(self) -> None:
        for name, moment in list(self.due.items()):
            if moment <= time.monotonic():
                self.start(name)

    def stop(self, names: list[str], seconds: float) -> None:
        pids = {name: self.running[name] for name in names if name in self.running}
        for name in names:
            self.declared.pop(name, None)
            self.due.pop(name, None)
        for pid in pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + seconds
        while set(pids) & set(self.running) and time.monotonic() < end:
            time.sleep(0.02)
            self.reap()
        for pid in pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        while set(pids) & set(self.running):
            time.sleep(0.02)
            self.reap()

    def clear(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        while others():
            time.sleep(0.02)
            self.reap()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        for unit in asked.get("start", ()):
            if unit["name"] not in self.declared:
                self.declared[unit["name"]] = unit
                self.start(unit["name"])
        if "stop" in asked:
            self.stop(asked["stop"], asked["seconds"])
        if "clear" in asked:
            self.clear()
        return {
            name: {"pid": self.running.get(name, 0), "starts": self.starts[name]}
            for name in self.declared
        }


def others() -> list[str]:
    """Processes besides this one that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != "1":
            with contextlib.suppress(OSError):
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(entry.name)
    return found


def main() -> None:
    root, mounts = Path(sys.argv[1]), json.loads(sys.argv[2])
    # Of this network: the machine's shows the machine's devices. Without cgroups in it, of
    # which libvirt would leave some.
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    for source, place in mounts:
        subprocess.run(["mount", "--bind", source, place], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    door = root / "init.sock"
    door.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(door))
    server.listen()
    server.settimeout(PAUSE / 2)
    units = Units(root)
    while True:
        units.reap()
        units.restart()
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(None)
            asked = json.loads(connection.makefile().readline())
            connection.sendall(json.dumps(units.answer(asked)).encode())


if __name__ == "__main__":
    main()
