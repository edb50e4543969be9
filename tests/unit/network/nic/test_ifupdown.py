"""ifupdown itself, with its file edited; and a DHCP client that somebody started for the NIC."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic import clients, kernel, plan
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers.ifupdown import edit
from onestack.network.nic.managers.told import Handover
from onestack.network.nic.operations import Terms, attach, detach
from tests.support.managed import dhcp_server, empty_run, needs_networkd, own_places
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, Wire, ip, show, wire

BRIDGE = "br-eno1"
NEW = f"link set {NIC} address {MAC} mtu 1400"
MAIN = Path("/etc/network/interfaces")
FIRST = """# by the installer
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eno1
iface eno1 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    up ip route add 10.0.0.0/8 via 192.0.2.254 dev eno1
    up ip rule add iif $IFACE lookup 100 priority 1000

# by hand
auto eno1.100
iface eno1.100 inet manual
"""
SECOND = """iface eno1 inet6 static
    address 2001:db8::5/64
    dad-attempts 0
"""
WANTED = Handover(NIC, BRIDGE, MAC, 1400)


def test_the_stanzas_of_the_nic_are_edited_where_they_stand() -> None:
    text = edit(FIRST, WANTED)
    assert "# by the installer" in text and "auto lo\niface lo inet loopback" in text
    assert "auto br-eno1\niface br-eno1 inet static\n" in text
    assert "dev br-eno1\n" in text and "iif $IFACE" in text
    assert "auto eno1.100\niface eno1.100 inet manual\n" in text
    assert text.endswith("\niface eno1 inet manual\n")
    assert "allow-hotplug eno1" not in text
    both = edit("auto eth0 eno1 eno1:1\niface eno1:1 inet static\n  address 192.0.2.9/24\n", WANTED)
    assert both.startswith("auto eth0 br-eno1 br-eno1:1\niface br-eno1:1 inet static\n")
    assert edit("iface eth0 inet dhcp\n", WANTED) == "iface eth0 inet dhcp\n"


@contextmanager
def machine(place: Path) -> Iterator[tuple[Wire, Cloud]]:
    cloud = Cloud("test", place / "cloud", None)
    cloud.etc.mkdir(parents=True)
    with wire(NEW) as far, own_places(place):
        Path("/run/network").mkdir()
        (MAIN.parent / "interfaces.d").mkdir(parents=True)
        yield far, cloud


def ping() -> bool:
    words = ["ping", "-c", "1", "-W", "2", GATEWAY]
    return subprocess.run(words, capture_output=True).returncode == 0


@needs_root
@needs_networkd
def test_addresses_move_stay_and_come_back(tmp_path: Path, with_tools: Path) -> None:
    def ifup() -> None:
        words = ["ifup", "--all", "--no-scripts", "--verbose"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    with machine(tmp_path) as (_, cloud):
        MAIN.write_text(FIRST.replace("allow-hotplug", "auto").partition("# by hand")[0])
        (MAIN.parent / "interfaces.d" / "six").write_text(SECOND)
        before = MAIN.read_text()
        ifup()
        had = kernel.look(NIC)
        assert len(had.texts) == 2 and len(had.rules) == 1
        attach(cloud, NIC, Terms())
        record = Journal.of(cloud, NIC).read()
        assert record and (record.state, record.manager) == (KEPT, "ifupdown")
        assert plan.difference(had, kernel.look(BRIDGE)) == [] and ping()
        # a boot
        ip(f"link delete {BRIDGE}")
        ip(f"link set {NIC} down")
        ip("rule delete priority 1000")
        empty_run()
        Path("/run/network").mkdir()
        ifup()
        assert soon(ping)
        # what the kernel calls a route made by hand is the same in both
        assert plan.difference(had, kernel.look(BRIDGE)) == []
        (link,) = show(f"-details link show dev {BRIDGE}")
        assert (link["address"], link["mtu"]) == (MAC, 1400)
        # ifdown and ifup of the bridge, as an operator types them
        subprocess.run(["ifdown", "--no-scripts", BRIDGE], check=True)
        assert gather().link(BRIDGE) is None
        # (the operator's own lines have no way back)
        ip("rule delete priority 1000")
        subprocess.run(["ifup", "--no-scripts", BRIDGE], check=True)
        assert soon(ping)
        assert detach(cloud, NIC, Terms())
        assert MAIN.read_text() == before
        assert (MAIN.parent / "interfaces.d" / "six").read_text() == SECOND
        assert plan.difference(had, kernel.look(NIC)) == [] and ping()


@needs_root
@needs_networkd
def test_what_was_edited_since_is_not_thrown_away(tmp_path: Path) -> None:
    with machine(tmp_path) as (_, cloud):
        MAIN.write_text("auto eno1\niface eno1 inet static\n  address 192.0.2.5/24\n")
        ip(f"link set {NIC} up")
        ip(f"address add 192.0.2.5/24 dev {NIC}")
        attach(cloud, NIC, Terms())
        MAIN.write_text(MAIN.read_text() + "\niface eno9 inet dhcp\n")
        with pytest.raises(OnestackError, match="interfaces was changed since"):
            detach(cloud, NIC, Terms())
        assert "192.0.2.5/24" in kernel.look(BRIDGE).texts
        edited = MAIN.read_text()
        assert detach(cloud, NIC, Terms(keep_files=True))
        assert "192.0.2.5/24" in kernel.look(NIC).texts and MAIN.read_text() == edited


@needs_root
@needs_networkd
def test_the_dhcp_client_goes_on_for_the_bridge(tmp_path: Path, with_tools: Path) -> None:
    """As Debian's boot scripts start it; it has the same address, and asks for it from now on."""
    root = with_tools.parent / "root"
    with machine(tmp_path) as (far, cloud), dhcp_server(far.pid, tmp_path / "leases"):
        MAIN.write_text("auto eno1\niface eno1 inet dhcp\n")
        client = str(with_tools / "dhclient")
        places = ["-pf", "/run/dhclient.eno1.pid", "-lf", "/run/dhclient.eno1.leases"]
        script = ["-sf", str(root / "sbin/dhclient-script")]
        subprocess.run([client, "-4", "-v", *places, *script, NIC], check=True, capture_output=True)
        try:
            (had,) = kernel.look(NIC).texts
            attach(cloud, NIC, Terms())
            assert clients.of(NIC) == []
            (now,) = clients.of(BRIDGE)
            assert now.argv[-1] == BRIDGE and "/run/dhclient.br-eno1.leases" in now.argv
            assert kernel.look(BRIDGE).texts == (had,)
            assert soon(lambda: 'interface "br-eno1"' in leases())
            assert "iface br-eno1 inet dhcp" in MAIN.read_text()
            detach(cloud, NIC, Terms())
            (now,) = clients.of(NIC)
            assert kernel.look(NIC).texts == (had,) and clients.of(BRIDGE) == []
        finally:
            clients.stop([*clients.of(NIC), *clients.of(BRIDGE)])
        assert len((tmp_path / "leases").read_text().splitlines()) == 1


def leases() -> str:
    place = Path("/run/dhclient.br-eno1.leases")
    return place.read_text() if place.exists() else ""
