"""NetworkManager itself, told of a bridge, at work with it, started anew, given its NIC back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic import kernel, texts
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers import networkmanager
from onestack.network.nic.managers.told import Handover
from onestack.network.nic.operations import Lost, Terms, attach, detach
from tests.support.managed import (
    dhcp_server,
    empty_run,
    needs_networkd,
    network_manager,
    own_places,
)
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, Wire, addresses, ip, show, wire

BRIDGE = "br-eno1"
NEW = f"link set {NIC} address {MAC}"
CONNECTIONS = Path("/etc/NetworkManager/system-connections")
SETTINGS = """[main]
plugins=keyfile
auth-polkit=false
dhcp=internal
no-auto-default=*
[device]
match-device=*
managed=1
"""
WIRED = """[connection]
id=Wired
uuid=11111111-2222-3333-4444-555555555555
type=ethernet
interface-name=eno1
zone=public

[ethernet]
mtu=1400

[ipv4]
method={method}

[ipv6]
method=link-local
"""
STATIC = WIRED.format(
    method="manual\naddress1=192.0.2.5/24,192.0.2.1\naddress2=192.0.2.6/24\ndns=192.0.2.53;\n"
    "route1=10.0.0.0/8,192.0.2.254"
)
DHCP = WIRED.format(method="auto\nmay-fail=false")


@contextmanager
def machine(place: Path, text: str) -> Iterator[tuple[Wire, Cloud]]:
    cloud = Cloud("test", place / "cloud", None)
    cloud.etc.mkdir(parents=True)
    with wire(NEW) as far, own_places(place):
        CONNECTIONS.mkdir(parents=True, exist_ok=True)
        (CONNECTIONS.parent / "NetworkManager.conf").write_text(SETTINGS)
        (CONNECTIONS / "Wired.nmconnection").write_text(text)
        (CONNECTIONS / "Wired.nmconnection").chmod(0o600)
        yield far, cloud


def connected(device: str, log: Path) -> None:
    def done() -> bool:
        words = ["nmcli", "-t", "-f", "DEVICE,STATE", "device"]
        said = subprocess.run(words, capture_output=True, text=True).stdout
        return f"{device}:connected\n" in said

    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until, log.read_text()[-4000:]
        time.sleep(0.2)


def ping() -> bool:
    words = ["ping", "-c", "1", "-W", "2", GATEWAY]
    return subprocess.run(words, capture_output=True).returncode == 0


def reboot() -> None:
    if gather().link(BRIDGE):
        ip(f"link delete {BRIDGE}")
    ip(f"link set {NIC} nomaster down")
    ip(f"address flush dev {NIC}")
    empty_run()


@needs_root
@needs_networkd
@pytest.mark.parametrize("text", [STATIC, DHCP], ids=["static", "dhcp"])
def test_addresses_move_stay_and_come_back(tmp_path: Path, with_tools: Path, text: str) -> None:
    log = tmp_path / "log"
    with machine(tmp_path, text) as (far, cloud), dhcp_server(far.pid, tmp_path / "leases"):
        with network_manager(log, with_tools):
            connected(NIC, log)
            had = kernel.look(NIC).texts
            assert had
            attach(cloud, NIC, Terms())
            record = Journal.of(cloud, NIC).read()
            assert record and (record.state, record.manager) == (KEPT, "NetworkManager")
            connected(BRIDGE, log)
            assert set(kernel.look(BRIDGE).texts) == set(had) and not kernel.look(NIC).texts
            assert ping()
            assert not list(Path("/run/NetworkManager/system-connections").glob("onestack*"))
        reboot()
        with network_manager(log, with_tools):
            connected(BRIDGE, log)
            assert soon(lambda: set(kernel.look(BRIDGE).texts) == set(had)), log.read_text()[-3000:]
            (link,) = show(f"-details link show dev {BRIDGE}")
            assert (link["address"], link["mtu"]) == (MAC, 1400)
            assert soon(ping)
            detach(cloud, NIC, Terms())
            connected(NIC, log)
            assert set(kernel.look(NIC).texts) == set(had)
            assert gather().link(BRIDGE) is None and ping()
            (kept,) = CONNECTIONS.iterdir()
            assert kept.read_text() == text and kept.stat().st_mode & 0o777 == 0o600


RA = "--enable-ra --dhcp-range=2001:db8::,ra-only,64,1h"
MANAGED_RA = "--enable-ra --dhcp-range=2001:db8::100,2001:db8::1ff,64,1h"


@needs_root
@needs_networkd
@pytest.mark.parametrize("more", [RA, MANAGED_RA], ids=["stable-privacy", "dhcpv6"])
def test_addresses_of_a_routers_advertisements_move(
    tmp_path: Path, with_tools: Path, more: str
) -> None:
    """NetworkManager makes of the device's name too what it asks for: stable-privacy gives another
    address of the same network, and a DHCP server the same one."""
    log = tmp_path / "log"
    text = STATIC.replace("method=link-local", "method=auto\naddr-gen-mode=stable-privacy")
    served = dhcp_server
    with machine(tmp_path, text) as (far, cloud), served(far.pid, tmp_path / "leases", more):
        ip(f"link set {NIC} up")

        def six(device: str) -> list[str]:
            return [a for a in kernel.look(device).texts if a.startswith("2001:db8:")]

        with network_manager(log, with_tools):
            connected(NIC, log)
            assert soon(lambda: bool(six(NIC))), log.read_text()[-3000:]
            attach(cloud, NIC, Terms())
            connected(BRIDGE, log)
            assert soon(lambda: bool(six(BRIDGE))) and not six(NIC)
            assert "192.0.2.5/24" in kernel.look(BRIDGE).texts
            leases = (tmp_path / "leases").read_text().splitlines()
            assert len([line for line in leases if " 2001:db8:" in line]) == (more == MANAGED_RA)
            detach(cloud, NIC, Terms())
            connected(NIC, log)
            assert soon(lambda: bool(six(NIC)))


@needs_root
@needs_networkd
@pytest.mark.parametrize("written", [1, 2])
def test_whatever_boot_comes_in_between_two_files_has_the_address(
    tmp_path: Path, with_tools: Path, written: int
) -> None:
    log = tmp_path / "log"
    with machine(tmp_path, STATIC):
        with network_manager(log, with_tools):
            connected(NIC, log)
            had = kernel.look(NIC).texts
            index = int(show(f"link show dev {NIC}")[0]["ifindex"])
            wanted = Handover(NIC, BRIDGE, MAC, 1400, index)
            notes = texts.note(networkmanager.NetworkManager().lasting(wanted, Path("/")))
        names = ["onestack-br-eno1.nmconnection", "onestack-eno1.nmconnection"]
        assert [Path(each["path"]).name for each in notes[:3]] == [*names, "Wired.nmconnection"]
        reboot()
        texts.write(notes[:written])
        with network_manager(log, with_tools):
            device = NIC if written == 1 else BRIDGE
            connected(device, log)
            assert soon(lambda: set(kernel.look(device).texts) == set(had)) and soon(ping)
            assert (gather().link(BRIDGE) is not None) == (device == BRIDGE)


@needs_root
@needs_networkd
def test_not_confirmed_it_has_its_nic_back(tmp_path: Path, with_tools: Path) -> None:
    log = tmp_path / "log"
    with machine(tmp_path, STATIC) as (_, cloud), network_manager(log, with_tools):
        connected(NIC, log)
        had = kernel.look(NIC).texts

        def ask(_: float) -> bool:
            connected(BRIDGE, log)
            assert [path.name for path in CONNECTIONS.iterdir()] == ["Wired.nmconnection"]
            return False

        with pytest.raises(Lost):
            attach(cloud, NIC, Terms(confirm=ask, timeout=5))
        connected(NIC, log)
        assert set(kernel.look(NIC).texts) == set(had), log.read_text()[-4000:]
        assert gather().link(BRIDGE) is None and ping()
        assert addresses(NIC)


BOND = """[connection]
id=Bond
uuid=11111111-2222-3333-4444-555555555555
type=bond
interface-name=bond0

[bond]
mode=active-backup

[match]
kernel-command-line=!rescue;

[ipv4]
method=manual
address1=192.0.2.5/24
"""


@pytest.mark.parametrize("text", [STATIC, DHCP, BOND])
def test_nmcli_takes_what_is_written(tmp_path: Path, with_tools: Path, text: str) -> None:
    nic = "bond0" if text is BOND else NIC
    wanted = Handover(nic, f"br-{nic}", MAC, 1400)
    state = "dhcp4.dhcp_client_identifier=01:02:00:00:00:00:05\ndhcp6.iaid=b6:22:0f:eb\n"
    state += "dhcp6.dhcp6_client_id=00:04:33:e8:7c:10\n"
    own = networkmanager.for_bridge(text, wanted, state)
    for made in (own, networkmanager.for_nic(text, wanted)):
        words = ["nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"]
        done = subprocess.run(words, input=made, capture_output=True, text=True)
        assert done.returncode == 0, (made, done.stderr)
        assert "interface-name=" in done.stdout
        if made is own:
            assert "dhcp-client-id=01:02:00:00:00:00:05\n" in done.stdout
            six = ("dhcp-iaid=3055685611\n", "dhcp-duid=00:04:33:e8:7c:10\n")
            assert all(line in done.stdout for line in six) or "[ipv6]" not in text
    bridge = networkmanager.parse(networkmanager.for_bridge(text, wanted))
    assert "address1" in bridge["ipv4"] or bridge["ipv4"]["method"] == "auto"
    port = networkmanager.parse(networkmanager.for_nic(text, wanted))
    assert port["connection"]["master"] == wanted.bridge and "ipv4" not in port
    assert ("bond" in port) == ("match" in port) == (text is BOND)
    assert "match" not in bridge


def test_the_parts_of_a_bond_belong_to_its_new_connection(tmp_path: Path) -> None:
    """They name it by the operator's, which would start with them."""
    folder = tmp_path / networkmanager.LASTING
    folder.mkdir(parents=True)
    own = "11111111-2222-3333-4444-555555555555"
    (folder / "Bond.nmconnection").write_text(BOND)
    part = "[connection]\nid=eno1\nuuid=2\ntype=ethernet\nmaster={}\nslave-type=bond\n"
    (folder / "eno1.nmconnection").write_text(part.format(own))
    (folder / "eno2.nmconnection").write_text(part.format("bond0"))
    state = tmp_path / networkmanager.DEVICES / "7"
    state.parent.mkdir(parents=True)
    state.write_text(f"[device]\nmanaged=true\nconnection-uuid={own}\n")
    wanted = Handover("bond0", "br-bond0", MAC, 1500, 7)
    told = networkmanager.NetworkManager().lasting(wanted, tmp_path)
    texts = {path.name: text for path, text in told.files.items() if path.is_relative_to(folder)}
    assert f"master={networkmanager.port_uuid(wanted)}\n" in str(texts["eno1.nmconnection"])
    assert "eno2.nmconnection" not in texts
    assert "autoconnect=false" in str(texts["Bond.nmconnection"])


OWN = "11111111-2222-3333-4444-555555555555"


def kept(root: Path, **files: bytes) -> Path:
    """Connections by their files' names, and the NIC has that of `OWN`."""
    folder = root / networkmanager.LASTING
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_bytes(text)
    state = root / networkmanager.DEVICES / "7"
    state.parent.mkdir(parents=True)
    state.write_text(f"[device]\nmanaged=true\nconnection-uuid={OWN}\n")
    return folder


def test_a_connection_that_other_nics_have_too_starts_for_them_as_before(tmp_path: Path) -> None:
    """As it is made in an initramfs."""
    text = STATIC.replace("zone=public", "multi-connect=3")
    folder = kept(tmp_path, **{"Wired.nmconnection": text.encode()})
    wanted = Handover(NIC, BRIDGE, MAC, 1500, 7)
    told = networkmanager.NetworkManager().lasting(wanted, tmp_path)
    assert folder / "Wired.nmconnection" not in told.files
    assert "multi-connect" not in str(told.files[folder / "onestack-br-eno1.nmconnection"])
    assert told.back[-1][-4:] == ("uuid", OWN, "ifname", NIC)


def test_what_networkmanager_passes_over_is_passed_over(tmp_path: Path) -> None:
    """What an editor has open, and what it has kept."""
    others = {".Wired.nmconnection.swp": b"b0VIM \xe9\xff", "Backup.nmconnection~": STATIC.encode()}
    folder = kept(tmp_path, **others, **{"Wired.nmconnection": STATIC.encode()})
    wanted = Handover(NIC, BRIDGE, MAC, 1500, 7)
    told = networkmanager.NetworkManager().lasting(wanted, tmp_path)
    assert "autoconnect=false" in str(told.files[folder / "Wired.nmconnection"])
    assert not [path for path in told.files if path.name in others]
    (folder / "Caf.nmconnection").write_bytes(b"[connection]\nid=caf\xe9\n")
    with pytest.raises(OnestackError, match="no text of UTF-8"):
        networkmanager.NetworkManager().lasting(wanted, tmp_path)
