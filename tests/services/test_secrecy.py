"""What a cloud with everything on lets out: listeners after minutes, secrets in logs. Last of all.

The services log at debug level for the second part: that level's lines count as any other.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import CloudUnderTest, run

AGE = 180.0
"""Seconds after which what services start late has started (RabbitMQ's monitor: 60)."""
SHORT = 12
"""Characters below which a secret may stand in a log by chance (the guide's ``centos``)."""


def secrets_of(cloud: CloudUnderTest) -> dict[str, str]:
    """Name to value, of those made at random."""
    return {name: value for name, value in cloud.secrets().items() if len(value) >= SHORT}


def test_only_the_frontends_listen_beyond_loopback(cloud: CloudUnderTest) -> None:
    born = (cloud.root / "run" / "supervisor" / "control.sock").stat().st_mtime
    time.sleep(max(0.0, AGE - (time.time() - born)))
    beyond = beyond_loopback(cloud, "tcp")
    urls = cloud.type("openstack endpoint list --interface public -f value -c URL").split()
    public = {int(url.split(":")[2].partition("/")[0]) for url in urls}
    # consoles, and the dashboard with its way to HTTPS
    assert {port for _, port in beyond} == {*public, 6080, 80, 443}
    assert len({address for address, _ in beyond}) == 1
    # a port of that range is one that is asked from; what else takes UDP nobody may reach
    low, high = map(int, cloud.inside("cat /proc/sys/net/ipv4/ip_local_port_range").stdout.split())
    assert not [at for at in beyond_loopback(cloud, "udp") if not low <= at[1] <= high]
    said = json.loads(cloud.onestack("doctor", "--json", expect=None).stdout)
    assert "remarks" in said
    assert not [remark for remark in said["remarks"] if "listens on" in remark["what"]]


def beyond_loopback(cloud: CloudUnderTest, protocol: str) -> set[tuple[str, int]]:
    """Address and port of where programs listen for more than this machine.

    What the kernel has open for tunnels is no program's.
    """
    lines = cloud.inside(f"ss -Hlnp --{protocol}").stdout.splitlines()
    listed = [line for line in lines if "users:" in line]
    found = set()
    for line in listed:
        address, _, port = line.split()[3].rpartition(":")
        address = address.strip("[]").partition("%")[0].replace("*", "::")
        if not ipaddress.ip_address(address).is_loopback:
            found.add((address, int(port)))
    assert protocol == "udp" or len(found) < len(listed), "not even a database listens"
    return found


@pytest.fixture(scope="module")
def at_debug_level(cloud: CloudUnderTest) -> Iterator[CloudUnderTest]:
    cloud.onestack("up", "--set", "CONFIG_DEBUG_MODE=y", timeout=900)
    # each service has something to tell
    cloud.type("openstack server create --flavor m1.nano --image cirros --nic none --wait told")
    cloud.type("openstack volume create --size 1 told")
    cloud.type("openstack server delete --wait told")
    cloud.type("openstack volume delete told")
    yield cloud
    cloud.onestack("up", "--set", "CONFIG_DEBUG_MODE=n", timeout=900)


def test_no_secret_in_any_log(at_debug_level: CloudUnderTest) -> None:
    known = secrets_of(at_debug_level)
    assert len(known) > 20
    logs = at_debug_level.logs()
    assert any(" DEBUG " in text for text in logs.values())
    told = {(log, n) for log, text in logs.items() for n, value in known.items() if value in text}
    assert not told


def test_no_secret_on_a_command_line(at_debug_level: CloudUnderTest) -> None:
    known = secrets_of(at_debug_level)
    told = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        told |= {(words[:60], name) for name, value in known.items() if value.encode() in words}
    assert not told


def test_no_secret_for_everybody_to_read(at_debug_level: CloudUnderTest) -> None:
    values = list(secrets_of(at_debug_level).values())
    done = run(
        ["grep", "-rlF", *(f"-e{value}" for value in values), str(at_debug_level.root / "etc")],
        expect=None,
    )
    found = [Path(line) for line in done.stdout.splitlines()]
    assert found and not [path for path in found if path.stat().st_mode & 0o007]
