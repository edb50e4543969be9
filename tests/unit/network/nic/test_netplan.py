"""netplan itself takes what is written, and networkd works with what netplan makes of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic import kernel, texts
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers import netplan
from onestack.network.nic.managers.told import Handover, Told
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
OTHERS = """network:
  renderer: networkd
  ethernets:
    eno3: {dhcp4: true}
  # eno1: not here
  vlans:
    v6: {id: 6, link: eno1}
"""
WANTED = Handover(NIC, BRIDGE, MAC, 1400)


def tree(root: Path, **files: str) -> Path:
    """Names with underscores for slashes: ``etc_50-a``."""
    for name, text in files.items():
        folder, _, stem = name.partition("_")
        place = root / folder / "netplan" / f"{stem}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o600)
    return root


def told(root: Path) -> Told:
    """As where networkd works for it."""
    return netplan.Netplan().lasting(WANTED, tree(root, **networkd_has(root)))


def networkd_has(root: Path, more: str = "") -> dict[str, str]:
    """What it configures the NIC by, as it says."""
    name = "run/systemd/network/10-netplan-eno1.network"
    state = f"ADMIN_STATE=configured\nNETWORK_FILE=/{name}\n"
    for path, text in (
        ("run/systemd/netif/links/0", state),
        ("run/systemd/netif/leases/0", "CLIENTID=ff0a0b0c0d00020000ab11aabb\n"),
        (name, f"[Match]\nName=eno1\n[Network]\nAddress=192.0.2.5/24\n{more}"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return {}


def says(root: Path, what: str) -> str:
    words = ["netplan", "get", "--root-dir", str(root), what]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_about_addresses_moves_and_the_rest_stays(tmp_path: Path, with_tools: Path) -> None:
    root = tree(tmp_path, **{"etc_50-a": TEXT, "etc_60-b": OTHERS})
    files = told(root).files
    text = files[root / "etc/netplan/50-a.yaml"] or ""
    assert root / "etc/netplan/60-b.yaml" not in files
    eno1, bridge = text.partition("  bridges:\n")[::2]
    assert "192.0.2.5" not in eno1 and "mtu: 1400" in eno1 and "dhcp4: false" in eno1
    assert "eno2" in eno1 and "v5" in eno1 and "10.5.0.1/24" in eno1
    for word in ("192.0.2.5/24", "192.0.2.1", "example.org", 'interfaces: ["eno1"]'):
        assert word in bridge
    # netplan has been asked, and says the same of it
    again = tree(tmp_path / "again", **{"etc_50-a": text, "etc_60-b": OTHERS})
    assert "eno1" in says(again, "bridges.br-eno1.interfaces")
    with pytest.raises(OnestackError, match="does not configure eno7"):
        netplan.edit(text, WANTED, "eno7")


def test_who_works_for_the_nic_works_for_its_bridge(tmp_path: Path, with_tools: Path) -> None:
    text = TEXT.replace(
        "eno1:\n", "eno1:\n      renderer: NetworkManager\n      optional: true\n", 1
    )
    made = told(tree(tmp_path, **{"etc_50-a": text})).files[tmp_path / "etc/netplan/50-a.yaml"]
    for kind in (netplan.KINDS, netplan.BRIDGES):
        name = "br-eno1" if kind is netplan.BRIDGES else "eno1"
        found = netplan.definition(made or "", kind, name)
        assert [line.strip() for line in found["renderer"]] == ["renderer: NetworkManager"]
        assert "optional" in found and ("addresses" in found) == (name == "br-eno1")


def test_whatever_boot_comes_in_between_has_the_address(tmp_path: Path, with_tools: Path) -> None:
    """Power goes after each file that is written, and after each that is put back."""
    root = tree(tmp_path, **{"etc_50-a": TEXT, "etc_60-b": OTHERS})
    (root / "etc/cloud").mkdir()
    (root / "etc/cloud/cloud.cfg").touch()
    notes = texts.note(told(root))
    lasting = [each for each in notes if "/run/" not in each["path"]]
    assert [Path(each["path"]).name for each in lasting] == [
        *("99-onestack-eno1.cfg", "onestack.conf", "50-a.yaml"),
    ]
    assert "[DHCPv4]\nIAID=168496141\n" in lasting[1]["after"]
    assert [each["after"] is None for each in notes] == [False] * 3 + [True] * 3

    def booted(name: str) -> None:
        """All of the address is at ``name``."""
        boot = tmp_path / "boot"
        shutil.rmtree(boot, ignore_errors=True)
        shutil.copytree(root / "etc", boot / "etc")
        subprocess.run(["netplan", "generate", "--root-dir", str(boot)], check=True)
        made = {p.name: p.read_text() for p in (boot / "run/systemd/network").glob("*.network")}
        have = [name for name, text in made.items() if "Address=192.0.2.5/24" in text]
        assert have == [f"10-netplan-{name}.network"]
        joined = "Bridge=br-eno1" in made["10-netplan-eno1.network"]
        assert joined == (name == BRIDGE)

    was = {path: path.read_bytes() for path in (root / "etc").rglob("*") if path.is_file()}
    for number in range(len(notes) + 1):
        texts.write(notes[:number])
        booted(NIC if number < 3 else BRIDGE)
    for number in range(len(notes) - 1, -1, -1):
        texts.restore([notes[number]])
        booted(NIC if number < 3 else BRIDGE)
    assert {p: p.read_bytes() for p in (root / "etc").rglob("*") if p.is_file()} == was
    assert not (root / "etc/systemd/network").exists()


def test_a_file_of_a_package_is_hidden_by_one_of_its_name(tmp_path: Path, with_tools: Path) -> None:
    files = told(tree(tmp_path, **{"lib_50-a": TEXT})).files
    assert "bridges:" in (files[tmp_path / "etc/netplan/50-a.yaml"] or "")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {
                "etc_50-a": TEXT,
                "etc_60-b": "network: {ethernets: {eno1: {addresses: [1.2.3.4/8]}}}",
            },
            "defined in .*50-a.yaml and .*60-b.yaml",
        ),
        # which would be merged with whatever is written
        ({"etc_50-a": TEXT, "run_60-b": TEXT}, "defined in .*50-a.yaml and .*60-b.yaml"),
        ({"run_50-a": TEXT}, "defined in .*run/netplan/50-a.yaml"),
        ({"etc_50-a": OTHERS}, "does not configure eno1"),
        (
            {"etc_50-a": TEXT, "run_60-b": OTHERS + "  bridges: {br-eno1: {dhcp4: true}}\n"},
            "would not give br-eno1 what eno1 has: dhcp4",
        ),
        (
            {"etc_50-a": TEXT.replace("mtu: 1400", "networkmanager: {uuid: 1-2}")},
            "has eno1 from NetworkManager",
        ),
        (
            {
                "etc_50-a": TEXT.replace("link: eno1", "link: b0"),
                "etc_60-b": "network: {bonds: {b0: {interfaces: [eno2]}}}",
            },
            "means nothing without netplan's other files",
        ),
        *(
            ({"etc_50-a": TEXT.replace("eno1:\n", f"eno1:\n      match: {{{match}}}\n", 1)}, why)
            for match, why in (
                ('name: "e*"', r"whatever fits name: e\*"),
                ("name: eno2", "whatever fits name: eno2"),
                ("driver: e1000", "whatever fits driver: e1000"),
                ("name: eno1, driver: e1000", "may be more devices than eno1"),
            )
        ),
    ],
)
def test_what_cannot_be_changed_at_once_is_refused(
    tmp_path: Path, with_tools: Path, files: dict[str, str], why: str
) -> None:
    with pytest.raises(OnestackError, match=why):
        told(tree(tmp_path, **files))


@pytest.mark.parametrize(
    "match", ['macaddress: "02:00:00:00:00:05"}, set-name: eno1', "name: eno1}"]
)
def test_a_nic_of_another_name_in_netplan_is_found(
    tmp_path: Path, with_tools: Path, match: str
) -> None:
    """By what networkd says of it, which goes on after that line."""
    text = TEXT.replace("eno1:", "primary:", 1).replace("link: eno1", "link: primary")
    match = match.replace("}, ", "}\n      ")
    text = text.replace("primary:\n", f"primary:\n      match: {{{match}\n")
    root = tree(tmp_path, **{"etc_50-a": text})
    networkd_has(root)
    state = root / "run/systemd/netif/links/0"
    used = root / "run/systemd/network/10-netplan-eno1.network"
    used.rename(used.with_name("10-netplan-primary.network"))
    state.write_text(state.read_text().replace("eno1", "primary") + "DNS=192.0.2.53\nNTP=\n")
    made = netplan.Netplan().lasting(WANTED, root).files[root / "etc/netplan/50-a.yaml"]
    bridge = netplan.definition(made or "", netplan.BRIDGES, "br-eno1")
    assert "primary" in bridge["interfaces"][0] + "".join(bridge["interfaces"])
    assert "192.0.2.5/24" in "".join(bridge["addresses"])


def test_a_client_of_dhcpv6_that_would_be_another_is_refused(
    tmp_path: Path, with_tools: Path
) -> None:
    """NetworkManager's, behind netplan."""
    root = tree(tmp_path, **{"etc_50-a": TEXT})
    state = root / "run/NetworkManager/devices/0"
    state.parent.mkdir(parents=True)
    state.write_text("[device]\nmanaged=true\nconnection-uuid=1\ndhcp6.iaid=0a:0b:0c:0d\n")
    with pytest.raises(OnestackError, match="address of eno1 by DHCPv6"):
        netplan.Netplan().lasting(WANTED, root)


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
            assert [path.name for path in FOLDER.iterdir()] == ["50-a.yaml"]
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
