"""An Open vSwitch of a test's own, in userspace, in the network namespace of the calling thread."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.host.command import environment
from onestack.network.distribution import Distribution
from tests.support.networks import soon

PATH = environment()["PATH"]
needs_switch = pytest.mark.skipif(
    not shutil.which("ovs-vswitchd", path=PATH), reason="needs the package openvswitch-switch"
)
DEBIANS = Distribution(None)


class Switch:
    def __init__(self, place: Path, distribution: Distribution) -> None:
        self.place = place
        self.env = environment({"PATH": distribution.path, "OVS_RUNDIR": str(place)})
        self.socket = place / "db.sock"
        self.vsctl = ("ovs-vsctl", f"--db=unix:{self.socket}", "--timeout=20")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self.vsctl, *words], capture_output=True, text=True, env=self.env, check=True
        )
        return done.stdout.strip()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        log = self.place / f"{words[0]}.log"
        with log.open("ab") as output:
            return subprocess.Popen(
                ["nice", "-n", "10", *words], env=self.env, stdout=output, stderr=output
            )

    def start_switch(self) -> subprocess.Popen[bytes]:
        control = self.place / "ovs-vswitchd.ctl"
        control.unlink(missing_ok=True)
        words = ("-vsyslog:off", f"--unixctl={control}", f"--pidfile={self.place}/v.pid")
        return self.start("ovs-vswitchd", f"unix:{self.socket}", *words)


@contextmanager
def switch(place: Path, distribution: Distribution = DEBIANS) -> Iterator[Switch]:
    """Needs root. Its socket's path must be short."""
    place.mkdir(parents=True, exist_ok=True)
    made = Switch(place, distribution)
    database = place / "conf.db"
    create = ["ovsdb-tool", "create", str(database), distribution.schema("vswitch")]
    subprocess.run(create, env=made.env, check=True)
    server = made.start(
        "ovsdb-server",
        str(database),
        f"--remote=punix:{made.socket}",
        f"--unixctl={place}/s.ctl",
        f"--pidfile={place}/s.pid",
        "-vsyslog:off",
    )
    assert soon(made.socket.exists), (place / "ovsdb-server.log").read_text()
    made(
        "--no-wait",
        "init",
        "--",
        "set",
        "Open_vSwitch",
        ".",
        "other_config:userspace-tso-enable=true",
    )
    daemon = made.start_switch()
    try:
        yield made
    finally:
        for process in (daemon, server):
            process.terminate()
            process.wait(10)
