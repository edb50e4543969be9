"""netplan itself takes what is written, and networkd works with what netplan makes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic import kernel
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers import netplan
from onestack.network.nic.managers.told import Handover
from onestack.network.nic.operations import Terms, attach, detach
from tests.support.managed import (
    configured,
    empty_run,
    needs_networkd,
    network_manager,
    networkd,
    own_places,
)
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.test_networkmanager import SETTINGS, connected
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, ip, show, wire

BRIDGE = "br-eno1"
FOLDER = Path("/etc/netplan")
TEXT = """# by hand
network:
  version: 2
  renderer: networkd
  ethernets:
    eno1:
      addresses: [192.0.2.5/24]
      routes:
      - to: default
        via: 192.0.2.1
      nameservers:
        addresses: [192.0.2.53]
        search: [example.org]
      mtu: 1400
      accept-ra: false
    eno2:
      dhcp4: true
      optional: true
  vlans:
    v5: {id: 5, link: eno1, addresses: [10.5.0.1/24]}
"""
MORE = """network:
  ethernets:
    eno1:
      addresses: ["2001:db8::5/64"]
"""
WANTED = Handover(NIC, BRIDGE, MAC, 1400)


def test_what_is_about_addresses_moves_and_the_rest_stays(tmp_path: Path, with_tools: Path) -> None:
    for name, text in (("50-a.yaml", TEXT), ("60-b.yaml", MORE)):
        place = tmp_path / "etc/netplan" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o600)
    told = netplan.Netplan()._text(WANTED, tmp_path)
    eno1, bridge = told.partition("  bridges:\n")[::2]
    assert "192.0.2.5" not in eno1 and "mtu: 1400" in eno1 and "dhcp4: false" in eno1
    assert "eno2" in eno1 and "v5" in eno1 and "10.5.0.1/24" in eno1
    for word in (
        "192.0.2.5/24",
        "2001:db8::5/64",
        "192.0.2.1",
        "example.org",
        'interfaces: ["eno1"]',
    ):
        assert word in bridge
    # netplan has been asked, and says the same of it
    again = tmp_path / "again"
    (again / "etc/netplan").mkdir(parents=True)
    (again / "etc/netplan/90.yaml").write_text(told)
    (again / "etc/netplan/90.yaml").chmod(0o600)
    words = ["netplan", "get", "--root-dir", str(again), "bridges.br-eno1.interfaces"]
    assert "eno1" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    with pytest.raises(OnestackError, match="does not configure eno7"):
        netplan.edit(told, WANTED, "eno7")


@needs_root
@needs_networkd
def test_with_networkmanager_behind_it(tmp_path: Path, with_tools: Path) -> None:
    cloud, log = Cloud("test", tmp_path / "cloud", None), tmp_path / "log"
    cloud.etc.mkdir(parents=True)
    text = TEXT.partition("  vlans:")[0].replace("renderer: networkd", "renderer: NetworkManager")
    with wire(f"link set {NIC} address {MAC}") as _, own_places(tmp_path):
        FOLDER.mkdir(exist_ok=True)
        settings = Path("/etc/NetworkManager/NetworkManager.conf")
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(SETTINGS)
        (FOLDER / "50-a.yaml").write_text(text)
        (FOLDER / "50-a.yaml").chmod(0o600)
        subprocess.run(["netplan", "generate"], check=True, capture_output=True)
        with network_manager(log, with_tools):
            connected(NIC, log)
            had = kernel.look(NIC).texts
            attach(cloud, NIC, Terms())
            record = Journal.of(cloud, NIC).read()
            assert record and (record.state, record.manager) == (KEPT, "netplan")
            connected(BRIDGE, log)
            assert kernel.look(BRIDGE).texts == had and not kernel.look(NIC).texts
        ip(f"link delete {BRIDGE}")
        ip(f"link set {NIC} down")
        empty_run()
        subprocess.run(["netplan", "generate"], check=True, capture_output=True)
        with network_manager(log, with_tools):
            connected(BRIDGE, log)
            assert soon(lambda: kernel.look(BRIDGE).texts == had), log.read_text()[-3000:]
            detach(cloud, NIC, Terms())
            connected(NIC, log)
            assert kernel.look(NIC).texts == had and gather().link(BRIDGE) is None
            (kept,) = FOLDER.iterdir()
            assert kept.read_text() == text


@needs_root
@needs_networkd
def test_addresses_move_stay_and_come_back(tmp_path: Path, with_tools: Path) -> None:
    cloud, log = Cloud("test", tmp_path / "cloud", None), tmp_path / "log"
    cloud.etc.mkdir(parents=True)
    text = TEXT.partition("  vlans:")[0]

    def generate() -> None:
        """As it is done early in a boot."""
        subprocess.run(["netplan", "generate"], check=True, capture_output=True)

    with wire(f"link set {NIC} address {MAC}") as _, own_places(tmp_path):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "50-a.yaml").write_text(text)
        (FOLDER / "50-a.yaml").chmod(0o600)
        generate()
        with networkd(log):
            configured(NIC, log)
            had = kernel.look(NIC).texts
            attach(cloud, NIC, Terms())
            record = Journal.of(cloud, NIC).read()
            assert record and (record.state, record.manager) == (KEPT, "netplan")
            configured(BRIDGE, log)
            assert kernel.look(BRIDGE).texts == had and not kernel.look(NIC).texts
            assert [path.name for path in FOLDER.iterdir()] == ["90-onestack.yaml"]
            assert not list(Path("/run/systemd/network").glob("00-onestack*"))
        ip(f"link delete {BRIDGE}")
        ip(f"link set {NIC} down")
        empty_run()
        generate()
        with networkd(log):
            configured(BRIDGE, log)
            assert soon(lambda: kernel.look(BRIDGE).texts == had), log.read_text()[-3000:]
            (link,) = show(f"-details link show dev {BRIDGE}")
            assert link["address"] == MAC and link["mtu"] == 1400
            ping = ["ping", "-c", "1", "-W", "2", GATEWAY]
            assert soon(lambda: subprocess.run(ping, capture_output=True).returncode == 0)
            detach(cloud, NIC, Terms())
            configured(NIC, log)
            assert kernel.look(NIC).texts == had and gather().link(BRIDGE) is None
            (kept,) = FOLDER.iterdir()
            assert kept.read_text() == text and kept.stat().st_mode & 0o777 == 0o600
