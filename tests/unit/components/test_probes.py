"""Probes ask: the kernel accepts for a process that hangs as well."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.components.memcached import Memcached
from onestack.model.process import ConnectProbe, NotifyProbe
from onestack.network.ovsdb import answers
from onestack.supervise.probes.attempt import Attempts
from onestack.supervise.probes.base import ProbeResult
from tests.support.hanging import hanging
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

SAY_IT_THEMSELVES = {"ceilometer", "libvirtd", "neutron-workers", "swift-upkeep"}
"""Nothing is asked of them: agents, and listings of services, tell how they are."""


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
def test_who_is_connected_to_is_asked_something(tmp_path: Path, agent: str) -> None:
    given = {"CONFIG_NEUTRON_L2_AGENT": agent, "CONFIG_SWIFT_STORAGE_ZONES": "2"}
    ctx = context(tmp_path, *ALL, **given)
    write_upstream(ctx)
    probes = {spec.name: spec.probe for each in ctx.model for spec in each.processes}
    connected = {name: p for name, p in probes.items() if isinstance(p, ConnectProbe)}
    assert {"mariadb", "memcached", "ovsdb-server"} <= connected.keys()
    assert [name for name, probe in connected.items() if not probe.hear] == []
    silent = {name for name, probe in probes.items() if isinstance(probe, NotifyProbe)}
    assert silent <= SAY_IT_THEMSELVES


def hangs_and_goes_on(pid: int, probe: ConnectProbe) -> None:
    assert soon(probe).ok
    with hanging(pid):
        found = Attempts().try_once(probe, 1.0)
        assert not found.ok and "accepts, and says nothing" in found.text, found
    assert soon(probe).ok


def soon(probe: ConnectProbe) -> ProbeResult:
    until = time.monotonic() + 10
    while not (found := Attempts().try_once(probe, 1.0)).ok and time.monotonic() < until:
        time.sleep(0.1)
    return found


@pytest.mark.skipif(not Path("/usr/bin/memcached").exists(), reason="memcached is not installed")
def test_memcached(tmp_path: Path) -> None:
    (process,) = Memcached().processes(context(tmp_path))
    assert isinstance(process.probe, ConnectProbe)
    address, port = process.probe.target.removeprefix("tcp:").split(":")
    words = [word.replace(f"{port}", "21211") for word in process.argv]
    with subprocess.Popen([*words, "-u", "nobody"]) as server:
        try:
            probe = ConnectProbe(
                f"tcp:{address}:21211", say=process.probe.say, hear=process.probe.hear
            )
            hangs_and_goes_on(server.pid, probe)
        finally:
            server.terminate()


@pytest.mark.skipif(not Path("/usr/bin/ovsdb-tool").exists(), reason="no Open vSwitch is installed")
def test_ovsdb_server(tmp_path: Path) -> None:
    database, door = tmp_path / "db", tmp_path / "door"
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    subprocess.run(["ovsdb-tool", "create", database, schema], check=True)
    with subprocess.Popen(
        [
            *("ovsdb-server", database, f"--remote=punix:{door}"),
            *(f"--unixctl={tmp_path}/ctl", "-vconsole:off", "-vsyslog:off"),
        ]
    ) as server:
        try:
            hangs_and_goes_on(server.pid, answers(door))
        finally:
            server.terminate()
