"""Facts from the kernel's and the system's texts."""

from __future__ import annotations

import socket
from pathlib import Path

from onestack.host import facts, kvm, mounts, sockets
from onestack.model.cloud import Cloud


def test_os_release() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
    found = facts.os_release(text)
    assert (found["ID"], found["VERSION_ID"]) == ("debian", "12")


def test_meminfo_is_in_bytes() -> None:
    text = "MemTotal:       24684096 kB\nMemAvailable:   1024 kB\nHugePages_Total:       3\n"
    assert facts.meminfo(text) == {
        "MemTotal": 24684096 * 1024,
        "MemAvailable": 1024 * 1024,
        "HugePages_Total": 3,
    }


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0
eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
"""


def test_gateway_of_the_lowest_metric() -> None:
    assert facts.gateway(ROUTES) == "192.0.2.1"
    assert facts.gateway("\n".join(ROUTES.splitlines()[:1])) == ""


def test_public_address() -> None:
    plain = Cloud("a", Path("/nonexistent/a"))
    inside = Cloud("a", Path("/nonexistent/a"), "onestack-a")
    assert facts.gather(plain, "203.0.113.7").public_address == "203.0.113.7"
    assert facts.gather(inside).public_address == "100.64.0.1"
    found = facts.gather(plain)
    assert found.public_address == (found.route_address or "127.0.0.1")


def test_kvm_is_asked_when_wanted() -> None:
    asked: list[int] = []

    def probe() -> kvm.Answer:
        asked.append(1)
        return kvm.Answer(False, "no device")

    found = facts.HostFacts("", "", "", 1, 0, 0, "h", "", "", "", False, probe)
    assert asked == []
    assert not found.kvm
    assert found.kvm_answer.reason == "no device"


MOUNTS = """21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:21 / /proc rw,nosuid,nodev,noexec - proc proc rw
23 21 254:1 / /var/lib/with\\040blank ro,nosuid shared:2 - xfs /dev/vdb rw,noquota
"""


def test_mounts() -> None:
    table = mounts.table(MOUNTS)
    assert [str(m.target) for m in table] == ["/", "/proc", "/var/lib/with blank"]
    found = mounts.holding(Path("/var/lib/with blank/x/y"), table)
    assert found is not None and found.kind == "xfs" and "ro" in found.options
    below = mounts.holding(Path("/srv/a"), table)
    assert below is not None and below.target == Path("/")


def test_listeners_of_a_kernel_text(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "head\n"
        "   0: 0100007F:1388 00000000:0000 0A 0:0 00:0 0 0 0 77 1\n"
        "   1: 0100007F:1389 00000000:0000 01 0:0 00:0 0 0 0 78 1\n"
    )
    (tmp_path / "net" / "tcp6").write_text(
        "head\n   0: 00000000000000000000000000000000:0016 0:0 0A 0:0 00:0 0 0 0 79 1\n"
    )
    assert sockets.listeners(tmp_path) == [
        sockets.Listener("127.0.0.1", 5000, 77),
        sockets.Listener("::", 22, 79),
    ]


def test_who_blocks_whom() -> None:
    assert sockets.Listener("0.0.0.0", 80, 1).blocks("192.0.2.1")
    assert sockets.Listener("::", 80, 1).blocks("192.0.2.1")
    assert sockets.Listener("::ffff:192.0.2.1", 80, 1).blocks("192.0.2.1")
    assert sockets.Listener("192.0.2.1", 80, 1).blocks("0.0.0.0")
    assert not sockets.Listener("127.0.0.1", 80, 1).blocks("192.0.2.1")


def test_the_owner_of_a_real_socket() -> None:
    import os

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        mine = [found for found in sockets.listeners() if found.port == port]
        (owner,) = sockets.owners(mine)
        assert owner.pid == os.getpid()
        assert "python" in owner.command or "pytest" in owner.command
    assert sockets.ancestors(os.getpid())[:2] == [os.getpid(), os.getppid()]


def test_disk_free_of_what_is_not_there_yet(tmp_path: Path) -> None:
    assert facts.disk_free(tmp_path / "a" / "b") == facts.disk_free(tmp_path) > 0
