"""Facts from the kernel's and the system's texts."""

from __future__ import annotations

import dataclasses
import grp
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from onestack.components.clients import clouds_yaml
from onestack.host import dpkg, facts
from onestack.host.command import CommandResult
from onestack.kernel import mounts, sockets
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.model.host import Host
from tests.support.machines import machine
from tests.unit.components.rooms import context


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


DEVICES = {"lo": (), "eth0": ("192.0.2.5/24", "2001:db8::5/64"), "tun0": ("10.8.0.2/24",)}


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ("", "", "10.8.0.2"),
        # a VPN has the default route for a while
        ("", "192.0.2.5", "192.0.2.5"),
        ("", "2001:db8::5", "2001:db8::5"),
        # DHCP has given another one
        ("", "192.0.2.9", "10.8.0.2"),
        ("", "127.0.0.1", "10.8.0.2"),
        ("192.0.2.5", "192.0.2.9", "192.0.2.5"),
        ("192.0.2.9", "192.0.2.5", "192.0.2.9"),
    ],
)
def test_a_cloud_stays_at_its_address(given: str, before: str, expected: str) -> None:
    assert facts.public_address(given, before, "10.8.0.2", DEVICES) == expected


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ("", "", "127.0.0.1"),
        ("", "192.0.2.5", "192.0.2.5"),
        # it comes back
        ("", "192.0.2.9", "192.0.2.9"),
        ("127.0.0.1", "192.0.2.9", "127.0.0.1"),
    ],
)
def test_a_machine_without_a_way_out_moves_no_cloud(given: str, before: str, expected: str) -> None:
    assert facts.public_address(given, before, "", DEVICES) == expected


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::9"])
def test_where_a_cloud_was_that_has_not_written_it_down(tmp_path: Path, address: str) -> None:
    """An older program's: its clients know."""
    ctx = context(tmp_path)
    at = Host.alone(ctx.cloud, dataclasses.replace(ctx.facts, public_address=address))
    text = clouds_yaml(dataclasses.replace(ctx, host=at))
    assert facts.address_before(ctx.cloud) == ""
    ctx.cloud.etc.mkdir(exist_ok=True)
    (ctx.cloud.etc / "clouds.yaml").write_text(text)
    assert facts.address_before(ctx.cloud) == address
    assert facts.gather(ctx.cloud).former_address == address
    ctx.cloud.address_file.write_text("203.0.113.10\n")
    assert facts.address_before(ctx.cloud) == "203.0.113.10"
    (ctx.cloud.etc / "clouds.yaml").write_text("clouds: {}")
    ctx.cloud.address_file.unlink()
    assert facts.address_before(ctx.cloud) == ""


def test_what_the_machine_has_is_no_matter_in_a_network_of_the_clouds_own(tmp_path: Path) -> None:
    cloud = Cloud("a", tmp_path, "onestack-a")
    cloud.etc.mkdir()
    here = facts.gather(Cloud("a", tmp_path)).public_address
    cloud.address_file.write_text(f"{here}\n")
    found = facts.gather(cloud)
    assert (found.public_address, found.former_address) == ("100.64.0.1", here)


def test_where_the_cloud_was_is_read(tmp_path: Path) -> None:
    cloud = Cloud("a", tmp_path)
    cloud.address_file.parent.mkdir()
    cloud.address_file.write_text("203.0.113.9\n")
    found = facts.gather(cloud)
    assert found.public_address != "203.0.113.9" == found.former_address
    assert facts.gather(cloud, "203.0.113.9").former_address == ""
    cloud.address_file.write_text(f"{found.public_address}\n")
    again = facts.gather(cloud)
    assert (again.public_address, again.former_address) == (found.public_address, "")


def test_only_what_a_guest_can_reach() -> None:
    text = """# comment
search example.org
nameserver 127.0.0.53
nameserver 192.0.2.53
nameserver fe80::1%eth0
nameserver ::1
nameserver 2001:db8::53
nameserver
nameserver nonsense
"""
    assert list(facts.usable(text)) == ["192.0.2.53", "2001:db8::53"]


def test_the_second_file_stands_behind_a_stub(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    assert facts.resolvers((stub, real)) == ()
    real.write_text("nameserver 192.0.2.1\n")
    assert facts.resolvers((stub, real)) == ("192.0.2.1",)


def test_they_are_plain_data_with_a_format() -> None:
    found = machine("several-nics")
    raw = json.loads(found.to_json())
    assert raw["format"] == facts.FORMAT
    assert facts.HostFacts.from_json(json.dumps(raw)) == found
    kept = machine("debian-12-systemd")
    assert facts.HostFacts.from_json(kept.to_json()).timekeepers[0].name == "systemd-timesyncd"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nothing", "no facts"),
        ("[]", "no facts"),
        ("{}", "no facts"),
        (json.dumps({"format": 99}), "in the format 99"),
        (json.dumps({"format": facts.FORMAT, "cores": 2}), "not whole"),
        (json.dumps({"format": facts.FORMAT, "timekeepers": [], "cores": 2}), "not whole"),
    ],
)
def test_what_is_not_such_data_is_refused(text: str, word: str) -> None:
    with pytest.raises(OnestackError, match=word):
        facts.HostFacts.from_json(text)


def test_versions_are_known_of_what_was_asked_about() -> None:
    assert machine().package_version("openvswitch-switch") == "3.1.0-2+deb12u1"
    fresh = machine("debian-13-fresh")
    assert "openvswitch-switch" not in fresh.packages
    assert fresh.package_version("openvswitch-switch") == "3.5.0-1+b1"
    with pytest.raises(KeyError):
        fresh.package_version("nobody-asked-about-it")


def test_apt_is_asked_once_and_only_of_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> CommandResult:
        asked.append(argv)
        text = "a-one:\n  Installed: (none)\n  Candidate: 2:1.0-1\n  Version table:\n"
        text += "b-two:\n  Installed: (none)\n  Candidate: (none)\n"
        return CommandResult(tuple(argv), 0, text, "", 0.0)

    monkeypatch.setattr(dpkg, "run", run)
    cloud = Cloud("a", Path("/nonexistent/a"))
    found = facts.gather(cloud, versions=("dpkg", "a-one", "b-two", "c-three"))
    assert asked == [["apt-cache", "policy", "a-one", "b-two", "c-three"]]
    assert found.candidates == {"a-one": "2:1.0-1", "b-two": "", "c-three": ""}
    assert found.package_version("dpkg") == found.packages["dpkg"]
    del asked[:]
    facts.gather(cloud, versions=("dpkg",))
    assert not asked


def test_the_group_of_a_device(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert facts.group_of(device) == ""
    device.touch(0o600)
    assert facts.group_of(device) == ""
    device.chmod(0o660)
    if os.geteuid() == 0:
        os.chown(device, 0, grp.getgrnam("daemon").gr_gid)
        assert facts.group_of(device) == "daemon"
        os.chown(device, 0, 0)
        assert facts.group_of(device) == ""


def test_modules_loaded_and_to_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sys/module/loop").mkdir(parents=True)
    place = tmp_path / "lib/modules" / os.uname().release
    place.mkdir(parents=True)
    (place / "modules.dep").write_text(
        "kernel/net/openvswitch/openvswitch.ko.xz: kernel/net/nf_nat.ko.xz\n"
        "kernel/net/bridge/br-netfilter.ko: kernel/net/bridge/bridge.ko\n"
    )
    (place / "modules.builtin").write_text("kernel/drivers/net/tun.ko\n")
    monkeypatch.setattr(shutil, "which", lambda name, path="": "/sbin/modprobe")
    names = ("br_netfilter", "loop", "openvswitch", "tun", "nf_nat", "xfs")
    found = [name for name in names if facts.module_available(name, tmp_path)]
    assert found == ["br_netfilter", "loop", "openvswitch", "tun"]
    # What nobody could load is not there.
    monkeypatch.setattr(shutil, "which", lambda name, path="": None)
    assert [name for name in names if facts.module_available(name, tmp_path)] == ["loop"]


def test_what_the_machine_may_listen_on() -> None:
    assert sockets.may_listen("127.0.0.1")
    assert not sockets.may_listen("192.0.2.77")
    assert not sockets.may_listen("no address")


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


def test_disk_free_of_what_is_not_there_yet(tmp_path: Path) -> None:
    assert facts.disk_free(tmp_path / "a" / "b") == facts.disk_free(tmp_path) > 0
