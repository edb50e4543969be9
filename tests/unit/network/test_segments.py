"""TCP from an external network to a tenant's, whose MTU is smaller: through the real switch."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onestack.network.distribution import distribution, ensure_unpacked
from tests.support import networks
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.support.switch import switch
from tests.unit.components.rooms import context_on, machine
from tests.unit.network.nic.wire import Wire, ip

pytestmark = needs_root
GUEST = "10.9.2.2"
MUCH = 20_000_000
"""Bytes."""
SINK = f"""
import socket
server = socket.create_server(("", 5001))
print("here", flush=True)
connection, _ = server.accept()
left = {MUCH}
while left > 0 and (piece := connection.recv(1 << 20)):
    left -= len(piece)
print(left)
"""


@contextlib.contextmanager
def elsewhere() -> Iterator[Wire]:
    """A network namespace: of a process that waits there."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "300"])
    here = Path(f"/proc/{process.pid}/ns/net")
    try:
        assert soon(lambda: here.readlink() != Path("/proc/thread-self/ns/net").readlink())
        yield Wire(process.pid)
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)
def test_all_of_a_stream_comes_through(tmp_path: Path) -> None:
    """A router drops segments that the switch has put together anew, and too large."""
    ctx = context_on(machine(kernel=False), tmp_path)
    for change in ensure_unpacked(ctx):
        change.do()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segments-")))
        stack.enter_context(networks.alone())
        ovs = stack.enter_context(switch(place, distribution(ctx)))
        router, guest = (stack.enter_context(elsewhere()) for _ in range(2))
        for bridge, *ports in (("br-out", "qg"), ("br-in", "qr", "tap")):
            ovs("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
            for port in ports:
                ovs("add-port", bridge, port, "--", "set", "interface", port, "type=internal")
        for port, where in (("qg", router), ("qr", router), ("tap", guest)):
            ip(f"link set {port} netns {where.pid}")
        for line in (
            "address add 10.9.1.1/24 dev br-out",
            "link set br-out up",
            "route add 10.9.2.0/24 via 10.9.1.2",
        ):
            ip(line)
        for where, lines in (
            (router, ("address add 10.9.1.2/24 dev qg", "address add 10.9.2.1/24 dev qr")),
            (router, ("link set qg up", "link set qr mtu 1450 up")),
            (guest, (f"address add {GUEST}/24 dev tap", "link set tap mtu 1450 up")),
            (guest, ("route add default via 10.9.2.1",)),
        ):
            for line in lines:
                where.inside("ip", *line.split())
        router.inside("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        sink = guest.start(sys.executable, "-c", SINK)
        try:
            assert sink.stdout and sink.stdout.readline() == "here\n"
            send(sink)
            assert sink.stdout.read() == "0\n"
        finally:
            sink.kill()
            sink.wait()


def send(sink: subprocess.Popen[str]) -> None:
    """What does not come within a minute never would: it were a hundred of thousands of retries."""
    late = threading.Timer(60, sink.kill)
    late.start()
    try:
        with socket.create_connection((GUEST, 5001), 10) as connection:
            connection.settimeout(60)
            with contextlib.suppress(OSError):
                connection.sendall(bytes(MUCH))
            sink.wait(60)
    finally:
        late.cancel()
