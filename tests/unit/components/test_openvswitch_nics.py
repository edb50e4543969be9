"""NICs and the switch: a real Open vSwitch in userspace, and the keeper that joins the two."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.components.openvswitch import external
from onestack.components.openvswitch.nics import Wire
from onestack.host.command import environment
from onestack.model.cloud import Cloud
from onestack.network.nic.operations import Terms, attach, detach
from tests.support import networks
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.support.switch import Switch, needs_switch, switch
from tests.unit.network.nic.wire import NIC, addresses, ip, wire
from tests.unit.network.nic.wire import Wire as FarSide

pytestmark = [needs_root, needs_switch]
GUEST = "192.0.2.200"


@pytest.fixture
def place() -> Iterator[Path]:
    """Short: a socket's name has 107 bytes."""
    found = Path(tempfile.mkdtemp(prefix="onestack-"))
    yield found
    shutil.rmtree(found)


class Keeper:
    def __init__(
        self, place: Path, switch: Switch, *wires: Wire, bridge: str = "br-ex", address: str = ""
    ) -> None:
        place = place / bridge
        place.mkdir(exist_ok=True)
        self.ready, self.log, rules = place / "ready", place / "keeper.log", place / "rules"
        self.ready.unlink(missing_ok=True)
        table = f"onestack_{bridge}".replace("-", "_")
        rules.write_text(external.filters(table, bridge, address.split()))
        (place / "keeper.sh").write_text(external.KEEPER)
        (place / "wires").write_text("".join(f"{wire.line}\n" for wire in wires))
        words = ["/bin/sh", str(place / "keeper.sh"), bridge, "netdev", address, table, str(rules)]
        words.append(str(self.ready))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*words, str(place / "wires"), *switch.vsctl],
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        assert soon(self.ready.exists), self.log.read_text()

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(5)


def ports(switch: Switch, bridge: str) -> list[str]:
    return sorted(switch("list-ports", bridge).split())


def test_nics_that_nobody_needs_come_into_their_bridges_and_out_again(place: Path) -> None:
    with networks.alone(), switch(place / "ovs") as ovs:
        for nic in ("one", "two"):
            ip(f"link add {nic} type veth peer name {nic}-far")
        ip("link add has type veth peer name has-far")
        ip("address add 192.0.2.9/24 dev has")
        for wires, outside, apart in (
            ((Wire("br-ex", "one"), Wire("br-nic", "two")), ["one"], ["two"]),
            ((Wire("br-nic", "two"), Wire("br-other"), Wire("br-has", "has")), [], ["two"]),
            ((), [], []),
        ):
            keeper = Keeper(place, ovs, *wires)
            try:
                assert (ports(ovs, "br-ex"), ports(ovs, "br-nic")) == (outside, apart)
            finally:
                keeper.end()
        assert ports(ovs, "br-has") == [] and "br-other" in ovs("list-br").split()
        assert "has has addresses of the machine's, and is left to it" in keeper.log.read_text()


def advertise(device: str) -> None:
    """As a router of 2001:db8::/64 at ``device`` does (RFC 4861)."""
    router = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 7200, 3600, 0)
    network = socket.inet_pton(socket.AF_INET6, "2001:db8::")
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.sendto(router + prefix + network, ("ff02::1", 0, 0, socket.if_nametoindex(device)))


def test_a_router_gives_a_port_of_the_switch_no_address(place: Path) -> None:
    """And one that has an address by whatever means is not taken out of the switch for it."""
    with networks.alone(), switch(place / "ovs") as ovs:
        ip("link add one type veth peer name one-far")
        ip("link set one-far up")
        keeper = Keeper(place, ovs, Wire("br-ex", "one"))
        try:
            soon(lambda: "tentative" not in ip("-6 address show dev one-far"))
            advertise("one-far")
            time.sleep(1)
            assert addresses("one") == []
        finally:
            keeper.end()
        Path("/proc/sys/net/ipv6/conf/one/disable_ipv6").write_text("0")
        ip("-6 address add 2001:db8::77/64 dev one nodad")
        keeper = Keeper(place, ovs, Wire("br-ex", "one"))
        try:
            assert ports(ovs, "br-ex") == ["one"] and addresses("one") == []
        finally:
            keeper.end()


def reached(far: FarSide, address: str) -> bool:
    return "1 received" in far.inside("ping", "-c1", "-W1", address, check=False)


def test_the_machine_and_guests_share_the_nic_and_the_machine_needs_no_switch(
    place: Path, tmp_path: Path
) -> None:
    """The switch stopped, killed, not yet started after a boot: the machine is reached."""
    root = tmp_path / "nothing"
    root.mkdir()
    cloud, terms = Cloud("test", tmp_path / "cloud", None), Terms(root=root)
    cloud.etc.mkdir(parents=True)
    to = Wire("br-ex", NIC)
    with wire() as far, switch(place / "ovs") as ovs:
        assert attach(cloud, NIC, terms) == "br-eno1"
        keeper = Keeper(place, ovs, to)
        with subprocess.Popen(["unshare", "--net", "sleep", "300"]) as own:
            mine = os.stat("/proc/thread-self/ns/net").st_ino
            assert soon(lambda: os.stat(f"/proc/{own.pid}/ns/net").st_ino != mine)
            inside = FarSide(own.pid)
            try:
                assert ports(ovs, "br-ex") == [to.pair.inner] == ["to-br-ex-eno1"]
                ip(f"link add qg-1 mtu 1400 type veth peer name eth0 mtu 1400 netns {own.pid}")
                ip("link set qg-1 up")
                for line in ("link set eth0 up", f"address add {GUEST}/24 dev eth0"):
                    inside.inside("ip", *line.split())
                ovs("add-port", "br-ex", "qg-1")
                # another machine on the wire, and this one, reach what is behind the switch
                assert soon(lambda: reached(far, GUEST)), keeper.log.read_text()
                ping = ["ping", "-c1", "-W2", GUEST]
                assert subprocess.run(ping, capture_output=True).returncode == 0
                assert reached(far, "192.0.2.5")
                # somebody makes the machine's bridge anew, as a network manager does
                ip(f"link set {to.pair.outer} nomaster")
                assert soon(lambda: "master br-eno1" in ip(f"link show {to.pair.outer}"))
                assert soon(lambda: reached(far, GUEST))
                # the keeper twice is the keeper once
                keeper.end()
                keeper = Keeper(place, ovs, to)
                assert ports(ovs, "br-ex") == ["qg-1", "to-br-ex-eno1"]
                # the switch is killed: guests wait for the next, the machine does not
                pid = int((ovs.place / "v.pid").read_text())
                os.kill(pid, signal.SIGKILL)
                assert reached(far, "192.0.2.5") and not reached(far, GUEST)
                again = ovs.start_switch()
                assert soon(lambda: reached(far, GUEST)), keeper.log.read_text()
                # taken out of the answers
                keeper.end()
                keeper = Keeper(place, ovs)
                assert ports(ovs, "br-ex") == ["qg-1"]
                assert to.pair.outer not in ip("link")
                again.terminate()
                again.wait(10)
                assert reached(far, "192.0.2.5")
                assert detach(cloud, NIC, terms)
                assert reached(far, "192.0.2.5") and "192.0.2.5/24" in addresses(NIC)
            finally:
                keeper.end()
                own.kill()


def answering(device: str, address: str, sender: str = "192.0.2.9") -> set[str]:
    """MAC addresses that say by ``device`` that they have it (RFC 826)."""
    own, found = bytes.fromhex("0200") + socket.inet_aton(sender), set()
    ends = own + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as wire:
        wire.bind((device, 0))
        wire.settimeout(1)
        head = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
        wire.send(bytes.fromhex("ffffffffffff") + own + head + ends)
        try:
            while True:
                frame = wire.recv(100)
                if frame[20:22] == b"\0\2":
                    found.add(frame[22:28].hex(":"))
        except TimeoutError:
            return found


def test_a_bridge_of_the_operators_is_joined_as_it_is(place: Path) -> None:
    """Such as vmbr0 or br0: named itself, or by a NIC in it."""
    with networks.alone(), switch(place / "ovs") as ovs:
        ip("link add vmbr0 type bridge")
        ip("link set vmbr0 up")
        ip("address add 192.0.2.5/24 dev vmbr0")
        ip("link add eth0 mtu 1400 type veth peer name far")
        ip("link set far up")
        ip("link set eth0 up master vmbr0")
        for named in ("eth0", "vmbr0"):
            to = Wire("br-ex", named)
            keeper = Keeper(place, ovs, to)
            try:
                assert ports(ovs, "br-ex") == [to.pair.inner], keeper.log.read_text()
                assert "master vmbr0" in ip(f"link show {to.pair.outer}")
                assert "mtu 1400" in ip(f"link show {to.pair.outer}")
                assert addresses("vmbr0")[0] == "192.0.2.5/24"
                # on its network it has one place, as before
                own = ip("-brief link show vmbr0").split()[2]
                assert answering("far", "192.0.2.5") == {own}, ip("-brief link")
            finally:
                keeper.end()


def mac(device: str) -> str:
    return ip(f"-brief link show {device}").split()[2]


def strictly(reversed_paths: int) -> None:
    """Devices that are made from now on, too."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text(str(reversed_paths))


def far_end(device: str, nic: str) -> None:
    """Somebody else's, though in this network: it answers for no address."""
    ip(f"link add {nic} type veth peer name {device}")
    ip(f"link set {device} arp off up")


@pytest.mark.parametrize("rp_filter", [0, 1])
@pytest.mark.parametrize("joined_by", ["bridge", "port"])
def test_the_external_address_is_answered_for_by_the_external_bridge_alone(
    place: Path, joined_by: str, rp_filter: int
) -> None:
    with networks.alone(), switch(place / "ovs") as ovs:
        strictly(rp_filter)
        ip("link set lo up")
        far_end("far", "eno1")
        # a router's outside leg
        far_end("leg", "qg-1")
        ip("link set qg-1 arp off up")
        own = "vmbr0"
        ip(f"link add {own} type bridge")
        ip(f"link set {own} up")
        ip(f"address add 192.0.2.5/24 dev {own}")
        if joined_by == "bridge":
            ip(f"link set eno1 up master {own}")
        keeper = Keeper(place, ovs, Wire("br-ex", "eno1"), address="172.24.4.1/24")
        try:
            ovs("add-port", "br-ex", "qg-1")
            router = "leg", "172.24.4.1", "172.24.4.100"
            assert soon(lambda: answering(*router) == {mac("br-ex")}), answering(*router)
            wire = "far", "172.24.4.1", "172.24.4.77"
            assert soon(lambda: answering(*wire) == {mac("br-ex")}), answering(*wire)
            # a sender that is elsewhere has no answer where its path is looked at
            asked = answering("far", "172.24.4.1", "192.0.2.9")
            assert asked == (set() if rp_filter else {mac("br-ex")})
            # what the machine has by its own bridge is answered for by that
            asked = answering("far", "192.0.2.5", "192.0.2.9")
            assert asked == ({mac(own)} if joined_by == "bridge" else set())
            if joined_by == "bridge":
                ip("link add vmbr1 type bridge")
                ip("link set vmbr1 up")
                ip("link set eno1 master vmbr1")
                ip("link delete vmbr0")
                pair = Wire("br-ex", "eno1").pair.outer
                assert soon(lambda: "master vmbr1" in ip(f"link show {pair}"))
                assert soon(lambda: answering(*wire) == {mac("br-ex")}), answering(*wire)
        finally:
            keeper.end()


def test_what_comes_by_a_wire_of_the_switch_is_heard_by_its_bridge_alone(place: Path) -> None:
    """By the bridge, and not by the NIC or the pair as well, where a userspace switch reads."""
    with networks.alone(), switch(place / "ovs") as ovs:
        strictly(0)
        far_end("far", "eno1")
        ip("link add eno2 type bridge")
        ip("link set eno2 up")
        # a bridge of the machine's own is on that network itself
        for nic, places in {"eno1": 1, "eno2": 2}.items():
            keeper = Keeper(place, ovs, Wire("br-ex", nic), address="172.24.4.1/24")
            try:
                if nic == "eno2":
                    ip("link set eno1 up master eno2")
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
                    here.bind(("", 5000))
                    here.settimeout(1)
                    assert soon(functools.partial(carried, here)), keeper.log.read_text()
                    time.sleep(1)
                    assert shouted(here) == places
            finally:
                keeper.end()


def carried(here: socket.socket) -> bool:
    return shouted(here) > 0


def shouted(here: socket.socket) -> int:
    """How often a datagram to all is heard that comes by the wire."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 29, 1, 0, 64, socket.IPPROTO_UDP, 0)
    ends = socket.inet_aton("172.24.4.77") + b"\xff" * 4
    words = struct.unpack("!10H", head + ends)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF)
    packet = head + ends + struct.pack("!HHHH", 4000, 5000, 9, 0) + b"x"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("far", 0))
        wire.send(b"\xff" * 6 + bytes.fromhex("020000000077") + b"\x08\0" + packet)
    found = 0
    try:
        while here.recv(10):
            found += 1
    except TimeoutError:
        return found
    return found


def test_clouds_on_one_nic_answer_each_for_their_own(place: Path) -> None:
    """Also where both have the same external network."""
    with networks.alone(), switch(place / "ovs") as ovs:
        strictly(0)
        far_end("far", "eno1")
        ip("link add vmbr0 type bridge")
        ip("link set vmbr0 up")
        ip("address add 192.0.2.5/24 dev vmbr0")
        ip("link set eno1 up master vmbr0")
        clouds = {"br-ex": "172.24.4.1", "a-br-ex": "172.24.5.1", "b-br-ex": "172.24.5.1"}
        keepers = []
        try:
            for bridge, address in clouds.items():
                to = Wire(bridge, "eno1")
                keepers.append(Keeper(place, ovs, to, bridge=bridge, address=f"{address}/24"))
            first, others = (
                ("far", "172.24.4.1", "172.24.4.77"),
                ("far", "172.24.5.1", "172.24.5.77"),
            )
            assert soon(lambda: answering(*first) == {mac("br-ex")}), answering(*first)
            both = {mac("a-br-ex"), mac("b-br-ex")}
            assert soon(lambda: answering(*others) == both), answering(*others)
            assert answering("far", "192.0.2.5") == {mac("vmbr0")}
        finally:
            for keeper in keepers:
                keeper.end()
