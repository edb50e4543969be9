"""systemd-networkd itself: told of a bridge, at work with it, started anew, given its NIC back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.network.nic import kernel, operations, plan, texts
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers.networkd import Networkd
from onestack.network.nic.managers.told import Handover
from onestack.network.nic.operations import Lost, Terms, attach, detach
from tests.support.managed import (
    configured,
    dhcp_server,
    empty_run,
    needs_networkd,
    networkd,
    own_places,
)
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, Wire, addresses, ip, show, wire

pytestmark = [needs_root, needs_networkd]
BRIDGE = "br-eno1"
STATIC = """[Match]
Name=eno*

[Link]
MTUBytes=1400

[Network]
Address=192.0.2.5/24
Address=2001:db8::5/64
DNS=192.0.2.53
IPv6AcceptRA=no
IPv6DuplicateAddressDetection=0

[Route]
Gateway=192.0.2.1
Metric=50

[RoutingPolicyRule]
IncomingInterface=eno1
Table=100
Priority=1000
"""
DHCP = """[Match]
Name=eno1
[Network]
DHCP=ipv4
"""
IAID = "[DHCPv4]\nIAID=12345\n"
NEW = f"link set {NIC} address {MAC}"


@dataclass
class Server:
    far: Wire
    etc: Path
    log: Path
    cloud: Cloud

    @property
    def lines(self) -> str:
        return self.log.read_text()[-4000:]


@contextmanager
def server(place: Path, text: str) -> Iterator[Server]:
    cloud = Cloud("test", place / "cloud", None)
    cloud.etc.mkdir(parents=True)
    etc = Path("/etc/systemd/network")
    with wire(NEW) as far, own_places(place):
        (etc / "20-wired.network").write_text(text)
        yield Server(far, etc, place / "networkd.log", cloud)


def reboot() -> None:
    """The kernel has devices as a boot makes them, and /run is empty."""
    if gather().link(BRIDGE):
        ip(f"link delete {BRIDGE}")
    ip(f"link set {NIC} nomaster down")
    ip(f"address flush dev {NIC}")
    for rule in show("rule"):
        if rule.get("iif") in (NIC, BRIDGE):
            ip(f"rule delete priority {rule['priority']}")
    empty_run()


def test_static_addresses_move_stay_and_come_back(tmp_path: Path) -> None:
    with server(tmp_path, STATIC) as machine:
        with networkd(machine.log):
            configured(NIC, machine.log)
            before = kernel.look(NIC)
            assert attach(machine.cloud, NIC, Terms()) == BRIDGE, machine.lines
            record = Journal.of(machine.cloud, NIC).read()
            assert record and (record.state, record.manager) == (KEPT, "systemd-networkd")
            configured(BRIDGE, machine.log)
            assert plan.difference(before, kernel.look(BRIDGE)) == []
            assert addresses(NIC) == []
            assert not list(Path("/run/systemd/network").iterdir())
            assert len(list(machine.etc.iterdir())) == 4
        # nothing but networkd runs, and the NIC is in the bridge with all that it had
        reboot()
        with networkd(machine.log):
            configured(BRIDGE, machine.log)
            assert soon(lambda: "192.0.2.5/24" in addresses(BRIDGE)), machine.lines
            (link,) = show(f"-details link show dev {BRIDGE}")
            assert link["address"] == MAC and link["mtu"] == 1400
            assert link["linkinfo"]["info_data"]["stp_state"] == 0
            assert ping()
            (rule,) = [r for r in show("rule") if "iif" in r]
            assert rule["iif"] == BRIDGE
            assert detach(machine.cloud, NIC, Terms()), machine.lines
            configured(NIC, machine.log)
            assert plan.difference(before, kernel.look(NIC)) == []
            assert gather().link(BRIDGE) is None
            assert [path.name for path in machine.etc.iterdir()] == ["20-wired.network"]
            assert ping()


def ping() -> bool:
    words = ["ping", "-c", "1", "-W", "2", GATEWAY]
    return subprocess.run(words, capture_output=True).returncode == 0


def test_the_dhcp_client_goes_on_for_the_bridge_and_has_the_same_address(tmp_path: Path) -> None:
    def client() -> str:
        """As whom it asks: by its MAC address alone a server may or may not know it again."""
        (line,) = (tmp_path / "leases").read_text().splitlines()
        return line.split()[-1]

    with server(tmp_path, DHCP) as machine, dhcp_server(machine.far.pid, tmp_path / "leases"):
        # It makes that of what udev calls a NIC, and of a bridge's MAC address: as where there is
        # udev, what it makes of the bridge is another one here. No file tells of it.
        udevs = machine.etc / "20-wired.network.d/udev.conf"
        udevs.parent.mkdir()
        udevs.write_text(IAID)
        with networkd(machine.log):
            configured(NIC, machine.log)
            (had,) = kernel.look(NIC).texts
            asked_as = client()
            assert asked_as.startswith("ff:00:00:30:39:")
            udevs.unlink()
            attach(machine.cloud, NIC, Terms())
            configured(BRIDGE, machine.log)
            assert client() == asked_as
            assert kernel.look(BRIDGE).texts == (had,), machine.lines
            (default,) = show("-4 route show default")
            assert (default["dev"], default["protocol"]) == (BRIDGE, "dhcp")
        reboot()
        with networkd(machine.log):
            configured(BRIDGE, machine.log)
            assert kernel.look(BRIDGE).texts == (had,) and client() == asked_as, machine.lines
            udevs.write_text(IAID)
            detach(machine.cloud, NIC, Terms())
            configured(NIC, machine.log)
            assert kernel.look(NIC).texts == (had,) and client() == asked_as, machine.lines


def test_a_dhcpv6_client_is_the_same_for_the_bridge(tmp_path: Path) -> None:
    """Its server knows nobody by a MAC address."""
    served = "--enable-ra --dhcp-range=2001:db8::100,2001:db8::1ff,64,1h"
    text = STATIC.replace("IPv6AcceptRA=no", "DHCP=ipv6").replace("Address=2001:db8::5/64\n", "")
    with (
        server(tmp_path, text) as machine,
        dhcp_server(machine.far.pid, tmp_path / "leases", served),
    ):
        udevs = machine.etc / "20-wired.network.d/udev.conf"
        udevs.parent.mkdir()
        udevs.write_text("[DHCPv6]\nIAID=54321\n")

        def six(device: str) -> list[str]:
            return [a for a in kernel.look(device).texts if a.endswith("/128")]

        with networkd(machine.log):
            configured(NIC, machine.log)
            assert soon(lambda: bool(six(NIC))), machine.lines
            had = six(NIC)
            udevs.unlink()
            attach(machine.cloud, NIC, Terms())
            configured(BRIDGE, machine.log)
            assert six(BRIDGE) == had
        reboot()
        with networkd(machine.log):
            configured(BRIDGE, machine.log)
            assert soon(lambda: six(BRIDGE) == had), machine.lines
        (line,) = [x for x in (tmp_path / "leases").read_text().splitlines() if "2001:db8" in x]
        assert line.split()[1] == "54321"


@pytest.mark.parametrize("written", [1, 2, 3])
def test_whatever_boot_comes_in_between_two_files_has_the_address(
    tmp_path: Path, written: int
) -> None:
    with server(tmp_path, STATIC) as machine:
        with networkd(machine.log):
            configured(NIC, machine.log)
            had = kernel.look(NIC).texts
            index = int(show(f"link show dev {NIC}")[0]["ifindex"])
            told = Networkd().lasting(Handover(NIC, BRIDGE, MAC, 1400, index), Path("/"))
            notes = texts.note(told)
        reboot()
        texts.write(notes[:written])
        with networkd(machine.log):
            device = BRIDGE if written == 3 else NIC
            configured(device, machine.log)
            assert soon(lambda: kernel.look(device).texts == had) and soon(ping), machine.lines
            other = {NIC, BRIDGE} - {device}
            assert not any(kernel.look(name).texts for name in other if gather().link(name))


def test_not_confirmed_networkd_has_its_nic_back_and_after_a_power_cut_too(
    tmp_path: Path,
) -> None:
    with server(tmp_path, STATIC) as machine:
        with networkd(machine.log):
            configured(NIC, machine.log)
            before = kernel.look(NIC)

            def ask(_: float) -> bool:
                configured(BRIDGE, machine.log)
                assert len(list(Path("/run/systemd/network").iterdir())) == 3
                assert len(list(machine.etc.iterdir())) == 1
                return False

            with pytest.raises(Lost):
                attach(machine.cloud, NIC, Terms(confirm=ask, timeout=5))
            configured(NIC, machine.log)
            assert plan.difference(before, kernel.look(NIC)) == [], machine.lines
            assert not list(Path("/run/systemd/network").iterdir())
        # what is only tried is nowhere that a boot reads
        assert [path.name for path in machine.etc.iterdir()] == ["20-wired.network"]


def test_a_pattern_of_the_operators_does_not_fit_the_wire_to_the_switch(tmp_path: Path) -> None:
    pair = plan.Pair.of(NIC, "br-ex")
    with server(tmp_path, STATIC.replace("eno*", "eno* to-*")) as machine:
        with networkd(machine.log):
            configured(NIC, machine.log)
            attach(machine.cloud, NIC, Terms())
            configured(BRIDGE, machine.log)
            for change in operations.ensure_pair_noted(machine.cloud, pair):
                change.do()
            assert list(operations.ensure_pair_noted(machine.cloud, pair)) == []
            ip(f"link add {pair.outer} type veth peer name {pair.inner}")
            ip(f"link set {pair.outer} master {BRIDGE} up")
            ip(f"link set {pair.inner} up")
            assert soon(lambda: "unmanaged" in setup(pair.inner) + setup(pair.outer))
            time.sleep(1)
            has = [*kernel.look(pair.inner).texts, *kernel.look(pair.outer).texts]
            assert has == [] and ping(), machine.lines
            operations.drop_pair(machine.cloud, pair)
            detach(machine.cloud, NIC, Terms())
        assert [path.name for path in machine.etc.iterdir()] == ["20-wired.network"]


def setup(device: str) -> str:
    words = ["networkctl", "--no-legend", "--no-pager", "list", device]
    return subprocess.run(words, capture_output=True, text=True).stdout
