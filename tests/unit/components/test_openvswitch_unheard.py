"""What guests send is not heard by this machine: real frames, on devices of a test's own."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Protocol

import pytest

from onestack.components.nova import Nova
from onestack.components.openvswitch import Openvswitch, unheard
from onestack.host import nftables
from onestack.host.ledger import Ledger
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.findings import Severity
from onestack.model.process import Process
from tests.support import networks
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.support.switch import needs_switch, switch
from tests.unit.components.rooms import context, context_on, machine
from tests.unit.network.nic.wire import ip

ROOM = Openvswitch()
TABLE = "onestack_test"
TAP, PORT = "tap0a1b2c3d-4e", "0a1b2c3d-4e"
HERE, GUEST, OUTSIDE = "192.0.2.5", "10.0.0.9", "198.51.100.7"
ALL = {"datagram", "broadcast", "ARP", "router", "passed on"}
MAC, EVERYBODY = "fa:16:3e:00:00:01", "ff:ff:ff:ff:ff:ff"
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


@pytest.fixture
def alone() -> Iterator[None]:
    """A machine with an address, a way out, and packets passed on."""
    with networks.alone():
        ip("link set lo up")
        ip("link add eth0 type veth peer name wire")
        for line in ("wire up", "eth0 up"):
            ip(f"link set {line}")
        ip(f"address add {HERE}/24 dev eth0")
        ip("route add default via 192.0.2.1")
        ip("neighbour add 192.0.2.1 lladdr 02:00:00:00:00:fe dev eth0")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        yield


class Keeper:
    """The script, as the supervisor starts it."""

    def __init__(self, place: Path, table: str = TABLE, seconds: int = unheard.SECONDS) -> None:
        self.ready, self.log = place / "ready", place / "log"
        self.ready.unlink(missing_ok=True)
        script, rules = place / "keeper.sh", place / "rules"
        script.write_text(unheard.KEEPER)
        rules.write_text(unheard.rules(table))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", str(script), table, str(rules), str(self.ready), str(seconds)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Keeper:
        assert soon(self.ready.exists), self.log.read_text()
        return self

    def __exit__(self, *error: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        # what it left running too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(5)


def kept(family: str = "inet") -> set[str]:
    return nftables.elements(nftables.listed(), TABLE, unheard.SET)[family]


# -- frames ------------------------------------------------------------------------


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def datagram(to: str, text: bytes) -> bytes:
    ends = socket.inet_aton(GUEST) + socket.inet_aton(to)
    body = struct.pack("!HHHH", 4000, 5000, 8 + len(text), 0) + text
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, socket.IPPROTO_UDP, 0)
    return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + body


def question(for_address: str, source: bytes) -> bytes:
    """Who has it? (RFC 826)"""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    mine = source + socket.inet_aton(GUEST)
    return head + mine + bytes(6) + socket.inet_aton(for_address)


def advertisement() -> bytes:
    """Of a router that all should go by (RFC 4861)."""
    ends = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in ("fe80::1", "ff02::1"))
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    told = checksum(ends + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6) + body)
    body = body[:2] + struct.pack("!H", told) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + ends + body


def listener(device: str) -> socket.socket:
    """All frames that come in by ``device``, read as a switch in userspace reads them."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.bind((device, 0))
    made.setblocking(False)
    return made


def frames(of: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(of.recv(2048))
        except BlockingIOError:
            return found


class Plug(Protocol):
    def __call__(self, name: str, address: str = "", guest: str = MAC) -> Guest: ...


class Guest:
    """With the MAC address ``own``: its frames come to this machine by ``near``.

    ``wire`` is what QEMU holds of its device.
    """

    def __init__(self, near: str, wire: FileIO, own: str) -> None:
        self.near, self.wire, self.mac = near, wire, mac(own)

    def send(self, to: str, kind: int, packet: bytes) -> None:
        self.wire.write(mac(to) + self.mac + struct.pack("!H", kind) + packet)

    def received(self) -> list[bytes]:
        found = []
        while (frame := self.wire.read(2048)) is not None:
            found.append(frame)
        return found

    def sent(self, to: list[bytes]) -> int:
        """How many of these frames are its own."""
        return sum(frame[6:12] == self.mac for frame in to)

    def heard(self) -> set[str]:
        """What of `ALL` this machine takes as sent to it."""
        device = ip(f"-brief link show {self.near}").split()[2]
        self.received()
        with (
            listener("wire") as outside,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        ):
            here.bind(("", 5000))
            here.setblocking(False)
            self.send(device, IPV4, datagram(HERE, b"datagram"))
            self.send(EVERYBODY, IPV4, datagram(HERE, b"broadcast"))
            self.send(EVERYBODY, ARP, question(HERE, self.mac))
            self.send(device, IPV4, datagram(OUTSIDE, b"through"))
            self.send("33:33:00:00:00:01", IPV6, advertisement())
            time.sleep(0.4)
            found = {text.decode() for text in frames(here)}
            if any(b"through" in frame for frame in frames(outside)):
                found.add("passed on")
        answer = struct.pack("!H", ARP), struct.pack("!H", 2)
        if any((frame[12:14], frame[20:22]) == answer for frame in self.received()):
            found.add("ARP")
        while routes := ip("-6 route show default"):
            if f"dev {self.near} " in routes:
                found.add("router")
            ip("-6 route delete default")
        return found


@pytest.fixture
def plug(alone: None) -> Iterator[Plug]:
    """A guest at a new device ``name``, which has this ``address``."""
    with ExitStack() as stack:

        def made(name: str, address: str = "", guest: str = MAC) -> Guest:
            opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            wire = stack.enter_context(FileIO(opened, "r+"))
            asked = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(wire, TUNSETIFF, asked)
            ip(f"link set {name} {f'address {address} ' if address else ''}up")
            # what has no address of its own yet does not listen to routers
            assert soon(lambda: "inet6" in ip(f"-6 address show dev {name} -tentative"))
            return Guest(name, wire, guest)

        yield made


# -- what the kernel hears ------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("address", [MAC, "02:00:00:00:00:01"])
@pytest.mark.parametrize("made_by", ["os-vif", "libvirt"])
def test_what_guests_send_is_for_the_switch_alone(
    tmp_path: Path, plug: Plug, address: str, made_by: str
) -> None:
    """Whatever MAC address a guest has, and whatever its device has been given."""
    guest = plug(TAP, address if made_by == "os-vif" else f"fe{address[2:]}", address)
    assert guest.heard() == ALL
    with Keeper(tmp_path), listener(TAP) as read:
        assert guest.heard() == set()
        # whoever reads at the device has all
        assert guest.sent(frames(read)) == len(ALL)


@needs_root
def test_a_device_of_somebody_elses_is_heard(tmp_path: Path, plug: Plug) -> None:
    with Keeper(tmp_path):
        for name in ("tap0", "tapestry", "tap0a1b2c3d-4", "tap0a1b2c3d-4ef", "tap0a1b2c3d-4x"):
            assert plug(name).heard() == ALL, name


@needs_root
def test_devices_come_and_go(tmp_path: Path, plug: Plug) -> None:
    with Keeper(tmp_path) as keeper:
        for _ in range(2):
            guest = plug(TAP)
            assert soon(lambda: kept() == kept("arp") == {TAP}), keeper.log.read_text()
            assert guest.heard() == set()
            guest.wire.close()
            assert soon(lambda: kept() == kept("arp") == set()), keeper.log.read_text()
        # one goes, and one of its name is there again
        for _ in range(5):
            ip(f"link add {TAP} type bridge")
            ip(f"link delete {TAP}")
        ip(f"link add {TAP} type bridge")
        time.sleep(1)
        assert kept() == kept("arp") == {TAP} and keeper.process.poll() is None


@needs_root
def test_cables_into_the_switch_and_their_bridges(tmp_path: Path, plug: Plug) -> None:
    """iptables_hybrid: a guest's device is in a bridge, which a cable joins to the switch."""
    for tool in ("iptables", "ip6tables", "arptables"):
        Path(f"/proc/sys/net/bridge/bridge-nf-call-{tool}").write_text("1")
    bridge, cable = f"qbr{PORT}", f"qvo{PORT}"
    ip(f"link add {bridge} type bridge")
    ip(f"link add qvb{PORT} type veth peer name {cable}")
    guest = plug(TAP)
    for line in (f"{bridge} up", f"qvb{PORT} master {bridge} up", f"{cable} up"):
        ip(f"link set {line}")
    ip(f"link set {TAP} master {bridge}")
    at_bridge, at_cable = (Guest(name, guest.wire, MAC) for name in (bridge, cable))
    # until both have addresses of their own
    assert soon(lambda: at_bridge.heard() == at_cable.heard() == ALL)
    with Keeper(tmp_path), listener(cable) as read:
        assert at_cable.heard() == set()
        assert guest.sent(frames(read)) == len(ALL)
        assert at_bridge.heard() == set()
        # all but what was for the bridge's own address
        assert guest.sent(frames(read)) == len(ALL) - 2


def fire(guest: Guest, until: threading.Event) -> None:
    while not until.is_set():
        guest.send(EVERYBODY, IPV4, datagram(HERE, b"broadcast"))
        time.sleep(0.0005)


@needs_root
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_guests_run_on_while_the_keeper_is_started_anew(
    tmp_path: Path, plug: Plug, how: signal.Signals
) -> None:
    """Not one frame is heard meanwhile."""
    guest, stop = plug(TAP), threading.Event()
    with Keeper(tmp_path) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("", 5000))
        here.setblocking(False)
        sending = threading.Thread(target=fire, args=(guest, stop))
        sending.start()
        try:
            first.end(how)
            for _ in range(3):
                with Keeper(tmp_path):
                    # what it loads once more, too
                    time.sleep(1.2)
            assert frames(here) == []
            # the frames were such that this machine would have taken them
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            assert soon(lambda: frames(here) != [])
        finally:
            stop.set()
            sending.join()


@needs_root
def test_without_rules_there_is_no_success(
    tmp_path: Path, plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = plug(TAP)
    with Keeper(tmp_path, seconds=1):
        # somebody loads other rules: by the next look ours are there, and by the next device
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        assert guest.heard() == ALL
        assert soon(lambda: nftables.missing(nftables.listed(), TABLE) == [])
        assert kept() == kept("arp") == {TAP} and guest.heard() == set()
    with Keeper(tmp_path):
        time.sleep(1.2)
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        other = plug("tap5f6a7b8c-9d")
        assert soon(lambda: nftables.missing(nftables.listed(), TABLE) == [])
        assert kept() == kept("arp") == {TAP, other.near} and guest.heard() == set()
    broken = tmp_path / "bin" / "nft"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    keeper = Keeper(tmp_path)
    assert keeper.process.wait(5) == 1 and not keeper.ready.exists()
    (why,) = (known for known in ROOM.known_errors if "nft" in known.pattern)
    assert re.search(why.pattern, keeper.log.read_text())


NO_ARP = """#!/bin/sh
# as on a kernel without nftables for ARP
said=$([ "$1" != -f ] || cat)
case "$* $said" in
    *"table arp "* | *"set arp "* | *"element arp "*)
        echo "Error: Could not process rule: Operation not supported" >&2
        exit 1 ;;
esac
if [ "$1" = -f ]; then echo "$said" | {nft} -f -; else exec {nft} "$@"; fi
"""


@needs_root
def test_a_kernel_without_rules_for_arp(
    tmp_path: Path, plug: Plug, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then devices answer no ARP, and the rest is dropped."""
    program = tmp_path / "bin" / "nft"
    program.parent.mkdir()
    program.write_text(NO_ARP.replace("{nft}", str(shutil.which("nft"))))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert nftables.families() == ("inet",)
    ip(f"link add qvb{PORT} type veth peer name qvo{PORT}")
    first = plug(TAP)
    with Keeper(tmp_path, unheard.table(context(tmp_path))) as keeper:
        late = plug("tap5f6a7b8c-9d")
        ip(f"link add qbr{PORT} type bridge")
        assert soon(lambda: "NOARP" in ip(f"link show qbr{PORT}")), keeper.log.read_text()
        assert "NOARP" in ip(f"link show qvo{PORT}")
        assert first.heard() == set() and late.heard() == set()
        ctx = context_on(machine(kernel=False), tmp_path)
        assert list(unheard.heard(ctx, nftables.ruleset())) == []


@needs_root
def test_many_devices_come_and_go_at_once(tmp_path: Path, alone: None) -> None:
    """However often the kernel tells of each, one call of nft is for many."""
    names = {f"tap{number:08x}-00" for number in range(100)}

    def all_of_them(line: str) -> None:
        said = "".join(f"link {line.format(name)}\n" for name in names)
        subprocess.run(["ip", "-batch", "-"], input=said, text=True, check=True)

    # slower than devices come
    program = tmp_path / "bin" / "nft"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nsleep 0.1\nexec {shutil.which("nft")} "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        keeper = Keeper(tmp_path)
    with keeper:
        time.sleep(1.2)
        all_of_them("add {} type bridge")
        all_of_them("set {} up")
        assert soon(lambda: kept() == kept("arp") == names), keeper.log.read_text()
        all_of_them("set {} down")
        all_of_them("delete {}")
        assert soon(lambda: kept() == kept("arp") == set()), keeper.log.read_text()
        assert keeper.process.poll() is None


@needs_root
@needs_switch
def test_a_switch_in_userspace_carries_what_this_machine_does_not_hear(plug: Plug) -> None:
    with ExitStack() as stack:
        # a socket's name has 107 bytes
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onestack-")))
        ovs = stack.enter_context(switch(place / "ovs"))
        stack.enter_context(Keeper(place))
        ovs("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")
        one, other = plug(TAP), plug("tap5f6a7b8c-9d", guest="02:00:00:00:00:02")
        for guest in (one, other):
            ovs("add-port", "br-int", guest.near)
        assert soon(lambda: one.heard() == set() and one.sent(other.received()) >= 3)
        assert other.heard() == set() and other.sent(one.received()) >= 3


# -- what the room declares ----------------------------------------------------------


def processes(ctx: Context) -> dict[str, Process]:
    rooms = (ROOM, Nova())
    return {process.name: process for room in rooms for process in Declared(room, ctx).processes}


def test_with_a_switch_in_userspace_guests_wait_for_it(tmp_path: Path) -> None:
    """The kernel's takes what guests send before anybody else."""
    for kernel in (True, False):
        ctx = context_on(machine(kernel=kernel), tmp_path)
        found = processes(ctx)
        assert (unheard.NAME in found) == (not kernel)
        assert (unheard.NAME in found["ovs-vswitchd"].needs) == (not kernel)
        assert "switch" in found["nova-compute"].needs
        files = {file.path.name for file in Declared(ROOM, ctx).files}
        assert ({"guests-unheard.sh", "guests-unheard.nft"} <= files) == (not kernel)
    # it is there while the keeper is not: guests run on
    keeper = found[unheard.NAME]
    assert keeper.cleanup == () and keeper.capabilities == ("net_admin",)
    assert keeper.user == "onestack-openvswitch" and not keeper.needs


def test_no_other_cloud_has_the_table(tmp_path: Path) -> None:
    names = ("onestack", "a", "guests", "unheard")
    found = [unheard.table(context(tmp_path, name=name)) for name in names]
    assert found[:2] == ["onestack_guests_unheard", "onestack_a_guests_unheard"]
    assert len(set(found)) == len(names)


@needs_root
def test_the_tables_are_noted_first_and_destroyed(tmp_path: Path, alone: None) -> None:
    ctx = context_on(machine(kernel=False), tmp_path)
    ctx.cloud.etc.mkdir(parents=True)
    (task,) = (task for task in Declared(ROOM, ctx).tasks if task.name == "unheard")
    assert task.before_start and "packages" in task.needs
    for change in task.ensure():
        change.do()
    assert list(task.ensure()) == []
    (entry,) = Ledger.of(ctx.cloud).entries()
    with Keeper(tmp_path, unheard.table(ctx)):
        pass
    assert nftables.missing(nftables.listed(), unheard.table(ctx)) == []
    nftables.UNDO[entry.kind](entry.data)
    assert len(nftables.missing(nftables.listed(), unheard.table(ctx))) == 2
    # where the kernel has a datapath now
    (change,) = unheard.Unheard().purge(ctx)
    change.do()
    assert Ledger.of(ctx.cloud).entries() == [] and list(unheard.Unheard().purge(ctx)) == []


@needs_root
def test_what_is_heard_is_told(tmp_path: Path, alone: None) -> None:
    def told(kernel: bool = False) -> list[str]:
        # it is gone since these were gathered
        present = {"lo": (), TAP: (), "tap99999999-99": ()}
        facts = dataclasses.replace(machine(kernel=kernel), cloud_devices=present)
        found = list(unheard.heard(context_on(facts, tmp_path), nftables.ruleset()))
        assert {each.severity for each in found} <= {Severity.REFUSE}
        assert {each.cure for each in found} <= {cure}
        return [each.why for each in found]

    cure = "onestack up"
    assert len(told()) == 1
    etc = context(tmp_path).cloud.etc / "openvswitch"
    etc.mkdir(parents=True)
    (etc / "guests-unheard.sh").touch()
    cure = "onestack restart openvswitch/guests-unheard"

    def nft(line: str) -> None:
        subprocess.run(["nft", *line.split(" ", 3)], check=True)

    table = unheard.table(context(tmp_path))
    for name in (TAP, "tap0"):
        ip(f"link add {name} type bridge")
    with Keeper(tmp_path, table):
        assert told() == []
    for family in nftables.FAMILIES:
        nft(f"delete element {family} {table} guests {{ {TAP} }}")
        lacking = f"not in the set guests of the packet filter's table {family} {table}"
        assert told() == [f"{TAP}: {lacking}"]
        nft(f"add element {family} {table} guests {{ {TAP} }}")
    # it came a moment ago
    delete, add = (
        [f"{verb} element {family} {table} guests {{ {TAP} }}" for family in nftables.FAMILIES]
        for verb in ("delete", "add")
    )
    for line in delete:
        nft(line)
    adding = f"sleep 0.4; nft '{'; '.join(add)}'"
    with subprocess.Popen(["/bin/sh", "-c", adding]):
        assert told() == []
    gone: list[str] = []
    for family in reversed(nftables.FAMILIES):
        nft(f"delete table {family} {table}")
        gone.insert(0, f"table {family} {table}")
        assert told()[0].startswith(f"gone from the packet filter: {', '.join(gone)}; other")
    assert told(kernel=True) == []
