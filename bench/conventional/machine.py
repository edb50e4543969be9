"""The namespaces that a conventional cloud lives in, and what is done inside them.

Its first process (`bench.conventional.init`) holds a PID namespace, mounts and a network.
Killed, it takes all others with it, and mounts and network go with the last: what remains is
the root directory. That is how a run that was killed is cleaned up by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.conventional.place import Place
from bench.conventional.settings import SHARE
from bench.figures import by_cmdline

INIT = Path(__file__).with_name("init.py")
PYTHON = "/usr/bin/python3"
PATIENCE = 30.0
"""Seconds that units may take to end; systemd gives 90."""


class Failed(Exception):
    """A command of the conventional cloud's, or the cloud, did not do what it had to."""


@dataclass(frozen=True)
class Unit:
    """``stage``: at boot all of one are started at once, and the next when these are ready."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    stage: int


class Machine:
    def __init__(self, place: Place) -> None:
        self.place = place
        self._first: int | None = None

    @property
    def pid(self) -> int | None:
        """Of its first process, outside; `None` while there is none."""
        if self._first is None or str(self.place.root) not in _argv(self._first):
            self._first = next(iter(self._keepers(str(INIT))), None)
        return self._first

    def power_on(self) -> None:
        """The namespaces, as a machine that has booted: ``/run`` and ``/tmp`` are empty."""
        if self.pid:
            return
        place = self.place
        for name in ("run", "tmp"):
            shutil.rmtree(place.root / name, ignore_errors=True)
        for part in ("mysqld", "libvirt", "openvswitch", "ovn", "lock", "netns"):
            (place.root / "run" / part).mkdir(parents=True)
        for path in (place.root / "tmp", place.log):
            path.mkdir(parents=True, exist_ok=True)
        (place.root / "init.sock").unlink(missing_ok=True)
        with (place.log / "init.log").open("ab") as log:
            subprocess.Popen(
                [
                    *("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"),
                    *("--propagation", "private", "--kill-child"),
                    *(PYTHON, str(INIT), str(place.root), json.dumps(mounts(place))),
                ],
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > end:
                raise Failed(f"no namespaces: {(place.log / 'init.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def power_off(self) -> None:
        """Everything in it is gone, whatever it was doing."""
        end = time.monotonic() + 30
        while pids := self._keepers():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > end:
                raise Failed(f"these do not end: {pids}")
            time.sleep(0.05)

    def remove(self) -> None:
        """The last file too."""
        self.power_off()
        under = f" {self.place.root}/"
        if under in Path("/proc/self/mountinfo").read_text():
            raise Failed(f"something is mounted below {self.place.root}: nothing is removed")
        if self.place.root.exists():
            shutil.rmtree(self.place.root)

    def start(self, units: Sequence[Unit]) -> None:
        declared = [{"name": u.name, "argv": u.argv, "env": dict(u.env)} for u in units]
        self._ask({"start": declared})

    def stop(self, names: Sequence[str]) -> None:
        self._ask({"stop": list(names), "seconds": PATIENCE})

    def clear(self) -> None:
        self._ask({"clear": True})

    def state(self) -> dict[str, dict[str, int]]:
        """Of each unit ``pid`` (in its namespace; 0 while it does not run) and ``starts``."""
        return self._ask({"state": True})

    def inside(self, *words: str) -> list[str]:
        """The command, run in there."""
        if not self.pid:
            raise Failed(f"{self.place.root}: nothing runs")
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *words]

    def run(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 600,
        accept: tuple[int, ...] = (0,),
    ) -> str:
        """What the command prints. Raises `Failed` for another exit code than ``accept``."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            self.inside(*words),
            env=dict(env or self.place.environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd="/",
            **given,
        )
        if done.returncode not in accept:
            raise Failed(
                f"{' '.join(words)} ended with {done.returncode}\n"
                f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        printed: str = done.stdout
        return printed

    def processes(self) -> list[int]:
        """Pids, outside, of all that runs in it but its first process: see `bench.figures`."""
        first = self.pid
        if not first:
            return []
        own = os.readlink(f"/proc/{first}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != first:
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "ns" / "pid") == own:
                        found.append(int(entry.name))
        return found

    def _keepers(self, second: str | None = None) -> list[int]:
        """Its first process and the one that made its namespaces; with ``second`` the former."""
        root = str(self.place.root)
        words = by_cmdline(lambda argv: root in argv and str(INIT) in argv)
        if second is None:
            return words
        return [pid for pid in words if _argv(pid)[1:2] == [second]]

    def _answers(self) -> bool:
        try:
            self._ask({"state": True})
        except OSError:
            return False
        return True

    def _ask(self, question: dict[str, Any]) -> dict[str, dict[str, int]]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.place.root / "init.sock"))
            client.sendall(json.dumps(question).encode() + b"\n")
            with client.makefile() as answer:
                found: dict[str, dict[str, int]] = json.loads(answer.read())
        return found


def mounts(place: Place) -> list[tuple[str, str]]:
    """Source and place. What is compiled in, or the machine's, is the cloud's own in there."""
    root, libvirt = place.root, place.lib / "libvirt"
    share = place.lib / "cinder" / "mnt" / hashlib.md5(SHARE.encode()).hexdigest()
    volumes = place.lib / "volumes"
    for path in (share, volumes):
        path.mkdir(parents=True, exist_ok=True)
    found = {
        "/etc/group": place.etc / "group",
        "/etc/passwd": place.etc / "passwd",
        "/etc/libvirt": place.etc / "libvirt",
        "/var/lib/libvirt": libvirt / "lib",
        "/var/log/libvirt": libvirt / "log",
        "/var/cache/libvirt": libvirt / "cache",
        # cinder's driver for NFS finds its share mounted, and mounts nothing: see os_brick's
        # RemoteFsClient. A kernel may lack NFS, and device-mapper, which LVM would need.
        str(share): volumes,
        "/run": root / "run",
        "/tmp": root / "tmp",
    }
    if not place.kvm and Path("/dev/kvm").exists():
        # QEMU hangs on a KVM that does not work.
        found["/dev/kvm"] = place.etc / "no-kvm"
    return [(str(source), where) for where, source in found.items()]


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
