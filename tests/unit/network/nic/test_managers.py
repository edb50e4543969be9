"""Who configures a NIC, as files tell it; and what no tool at hand can be asked about."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from onestack.model.errors import OnestackError
from onestack.network.nic import texts
from onestack.network.nic.managers import ifcfg, networkd
from onestack.network.nic.managers.known import manager_of
from onestack.network.nic.managers.told import Handover, renamed

MAC = "02:00:00:00:00:05"
WANTED = Handover("eno1", "br-eno1", MAC, 1500, 2)
ETH = "etc/sysconfig/network-scripts"
USED = "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/10-wired.network\n"
PLANNED = "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eno1.network\n"
MANAGED = "[device]\nmanaged=true\nconnection-uuid=1111\n"


def tree(place: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, ""),
        ({"run/systemd/netif/links/2": USED}, "systemd-networkd"),
        ({"run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\n"}, ""),
        ({"run/systemd/netif/links/2": PLANNED}, "netplan"),
        ({"run/NetworkManager/devices/2": MANAGED}, "NetworkManager"),
        ({"run/NetworkManager/devices/2": "[device]\nmanaged=false\n"}, ""),
        (
            {
                "run/NetworkManager/devices/2": MANAGED,
                "run/NetworkManager/system-connections/netplan-eno1.nmconnection": "uuid=1111\n",
            },
            "netplan",
        ),
        # it reads these files too
        (
            {"run/NetworkManager/devices/2": MANAGED, f"{ETH}/ifcfg-eno1": "DEVICE=eno1\n"},
            "NetworkManager",
        ),
        ({f"{ETH}/ifcfg-eno1.bak": "DEVICE=eno1\n"}, ""),
        ({f"{ETH}/ifcfg-Wired": 'DEVICE="eno1"\n'}, "network-scripts"),
        ({"etc/network/interfaces": "auto eno1\niface eno1 inet dhcp\n"}, "ifupdown"),
        ({"etc/network/interfaces": "iface eno1 inet manual\n"}, ""),
        (
            {
                "etc/network/interfaces": "source interfaces.d/*\n",
                "etc/network/interfaces.d/eno1": "iface eno1 inet6 \\\n  auto\n",
            },
            "ifupdown",
        ),
        (
            {
                "etc/network/interfaces": "source-directory /etc/network/interfaces.d\n",
                "etc/network/interfaces.d/all": "iface eno11 inet dhcp\n",
            },
            "",
        ),
    ],
)
def test_who_configures_a_nic(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert manager_of("eno1", 2, tree(tmp_path, files)).name == name


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("ip route add x dev eno1", "ip route add x dev br-eno1"),
        ("eno1:1 eno1.100 eno11 xeno1 my-eno1", "br-eno1:1 eno1.100 eno11 xeno1 my-eno1"),
    ],
)
def test_only_the_name_itself_is_another(text: str, made: str) -> None:
    assert renamed(text, "eno1", "br-eno1") == made


# The notes' own file, and its neighbours.
NOTES = """TYPE=Ethernet
BOOTPROTO=none
DEFROUTE=yes
IPV4_FAILURE_FATAL=no
IPV6INIT=yes
NAME=eno1
UUID=aaaa
DEVICE=eno1
ONBOOT=yes
IPADDR=10.50.14.20
PREFIX=24
GATEWAY=10.50.14.1
DNS1=10.50.14.1
ZONE=public
MTU=9000
"""


def scripts(place: Path, **more: str) -> Path:
    """Names without their folder, with underscores for dashes."""
    named = {f"{ETH}/{name.replace('_', '-', 1)}": text for name, text in more.items()}
    root = tree(place, named)
    (root / ETH / "ifcfg-eno1").chmod(0o600)
    return root


def test_ifcfg_files_as_in_the_notes(tmp_path: Path) -> None:
    route, rule = "10.0.0.0/8 via 10.50.14.254 dev eno1\n", "iif eno1 table 100\n"
    root = scripts(tmp_path, ifcfg_eno1=NOTES, route_eno1=route, rule_eno1=rule)
    told = ifcfg.Ifcfg().lasting(WANTED, root)
    texts = {path.name: text for path, text in told.files.items()}
    nic, bridge = (
        ifcfg.values(texts["ifcfg-eno1"] or ""),
        ifcfg.values(texts["ifcfg-br-eno1"] or ""),
    )
    assert nic == {
        "TYPE": "Ethernet",
        "NAME": "eno1",
        "UUID": "aaaa",
        "DEVICE": "eno1",
        "ONBOOT": "yes",
        "MTU": "9000",
        "BOOTPROTO": "none",
        "BRIDGE": "br-eno1",
    }
    assert bridge["TYPE"] == "Bridge" and bridge["STP"] == "off" and bridge["MACADDR"] == MAC
    assert bridge["DEVICE"] == bridge["NAME"] == "br-eno1" and "UUID" not in bridge
    moved = ("BOOTPROTO", "IPADDR", "PREFIX", "GATEWAY", "DNS1", "ZONE", "DEFROUTE", "IPV6INIT")
    assert all(bridge[key] == ifcfg.values(NOTES)[key] for key in (*moved, "MTU", "ONBOOT"))
    assert texts["route-br-eno1"] == "10.0.0.0/8 via 10.50.14.254 dev br-eno1\n"
    assert texts["rule-br-eno1"] == "iif br-eno1 table 100\n"
    assert texts["route-eno1"] is texts["rule-eno1"] is None
    assert told.commands == ()
    # as secret as the file was: it may have passwords
    assert {told.modes[root / ETH / name] for name in texts if "br-eno1" in name} == {0o600}


def test_aliases_and_ranges_go_with_it_and_its_802_1x_stays(tmp_path: Path) -> None:
    more = "KEY_MGMT=IEEE8021X\nIEEE_8021X_EAP_METHODS=TLS\nETHTOOL_OPTS='wol g'\nGATEWAYDEV=eno1\n"
    root = scripts(
        tmp_path,
        **{
            "ifcfg_eno1": NOTES + more,
            "ifcfg_eno1:1": "DEVICE=eno1:1\nIPADDR=10.50.14.21\n",
            "ifcfg_eno1-range0": "IPADDR_START=10.50.14.30\n",
            "ifcfg_eno1:2.bak": "DEVICE=eno1:2\n",
            "ifcfg_eno11": "DEVICE=eno11\n",
        },
    )
    texts = {p.name: t for p, t in ifcfg.Ifcfg().lasting(WANTED, root).files.items()}
    assert texts["ifcfg-br-eno1:1"] == "DEVICE=br-eno1:1\nIPADDR=10.50.14.21\n"
    assert texts["ifcfg-eno1:1"] is None and texts["ifcfg-eno1-range0"] is None
    assert "ifcfg-br-eno1-range0" in texts and len(texts) == 6
    nic, bridge = texts["ifcfg-eno1"] or "", texts["ifcfg-br-eno1"] or ""
    assert all(line in nic for line in more.splitlines()[:3])
    assert "8021X" not in bridge and "KEY_MGMT" not in bridge and "ETHTOOL" not in bridge
    assert "GATEWAYDEV=br-eno1" in bridge and "GATEWAYDEV" not in nic
    # what all NICs have in common may name it too
    tree(root, {f"{ETH}/ifcfg-eno1": NOTES, "etc/sysconfig/network": "GATEWAYDEV=eno1\n"})
    texts = {p.name: t for p, t in ifcfg.Ifcfg().lasting(WANTED, root).files.items()}
    assert "GATEWAYDEV=br-eno1\n" in (texts["ifcfg-br-eno1"] or "")


READ = """cd {folder}
for file in ifcfg-*; do (
    . ./$file
    [ "$ONBOOT" = no ] || echo "$DEVICE $IPADDR $BRIDGE"
); done"""
"""What the scripts do of a boot: each file is read by a shell, and may start nothing."""


def test_whatever_boot_comes_in_between_two_ifcfg_files_has_the_address_once(
    tmp_path: Path,
) -> None:
    address = "10.50.14.20"
    root = scripts(tmp_path, ifcfg_eno1=NOTES, route_eno1="default via 10.50.14.1\n")
    notes = texts.note(ifcfg.Ifcfg().lasting(WANTED, root))
    names = [Path(each["path"]).name for each in notes]
    assert names == ["ifcfg-br-eno1", "route-br-eno1", "ifcfg-eno1", "route-eno1"]

    def booted() -> list[str]:
        script = READ.format(folder=root / ETH)
        script = script.replace(". ./$file", f"eval \"$(sed 's, /{ETH}, {root / ETH},' $file)\"")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return [line.strip() for line in done.stdout.splitlines()]

    before, after = [f"eno1 {address}"], [f"br-eno1 {address}", "eno1  br-eno1"]
    assert booted() == before
    for number, each in enumerate(notes):
        texts.write([each])
        assert booted() == (before if number < 2 else after)
        # its routes are there
        device = "eno1" if number < 2 else "br-eno1"
        assert (root / ETH / f"route-{device}").is_file()
    for number in (3, 2, 1, 0):
        texts.restore([notes[number]])
        assert booted() == (before if number <= 2 else after)
        assert (root / ETH / f"route-{'eno1' if number <= 2 else 'br-eno1'}").is_file()
    assert sorted(path.name for path in (root / ETH).iterdir()) == ["ifcfg-eno1", "route-eno1"]


def test_networkmanager_and_the_scripts_do_not_take_the_same_file(tmp_path: Path) -> None:
    """NetworkManager goes on with what it has, or takes what was meant for the scripts."""
    root = scripts(tmp_path, ifcfg_eno1=NOTES)
    tree(root, {"run/NetworkManager/NetworkManager.pid": "1"})
    with pytest.raises(OnestackError, match=r"does not leave eno1 to the network-scripts"):
        ifcfg.Ifcfg().lasting(WANTED, root)
    scripts(tmp_path, ifcfg_eno1=NOTES + "NM_CONTROLLED=no\n")
    assert ifcfg.Ifcfg().lasting(WANTED, root).commands == (("nmcli", "connection", "reload"),)
    # it has the NIC by that file
    tree(root, {"run/NetworkManager/devices/2": MANAGED.replace("1111", "AAAA")})
    manager = manager_of("eno1", 2, root)
    assert (manager.name, manager.runs_clients) == ("NetworkManager", False)
    with pytest.raises(OnestackError, match=r"nmcli connection migrate AAAA"):
        manager.lasting(WANTED, root)


@pytest.mark.parametrize(
    "line", ["if true; then", 'BONDING_OPTS="mode=1', '   miimon=100"', "just words"]
)
def test_an_ifcfg_file_that_is_a_program_is_refused(tmp_path: Path, line: str) -> None:
    root = scripts(tmp_path, ifcfg_eno1=f"{NOTES}{line}\n")
    with pytest.raises(OnestackError, match="a line that onestack does not know"):
        ifcfg.Ifcfg().lasting(WANTED, root)


def test_an_alias_that_would_have_too_long_a_name_is_refused(tmp_path: Path) -> None:
    root = scripts(tmp_path, **{"ifcfg_eno1": NOTES, "ifcfg_eno1:12345678": ""})
    with pytest.raises(OnestackError, match="longer than names may be"):
        ifcfg.Ifcfg().lasting(WANTED, root)


def test_a_bond_stays_a_bond(tmp_path: Path) -> None:
    path = tmp_path / "ifcfg-bond0"
    lines = 'DEVICE=bond0\nDEVICETYPE=Bond\nBONDING_OPTS="mode=1 miimon=100"\nIPADDR=192.0.2.5\n'
    path.write_text(lines)
    wanted = Handover("bond0", "br-bond0", MAC, 1500)
    nic, bridge = ifcfg.split(path, wanted)
    assert 'BONDING_OPTS="mode=1 miimon=100"' in nic and "IPADDR" not in nic
    assert "DEVICETYPE=Bond" in nic and "DEVICETYPE" not in bridge
    assert "BONDING" not in bridge and "IPADDR=192.0.2.5" in bridge


@pytest.mark.parametrize("tell", [ifcfg.Ifcfg().lasting, networkd.Networkd().lasting])
def test_one_that_nothing_configures_is_said(
    tmp_path: Path, tell: Callable[[Handover, Path], object]
) -> None:
    (tmp_path / ETH).mkdir(parents=True)
    with pytest.raises(OnestackError, match="eno1"):
        tell(WANTED, tmp_path)


def test_networkds_drop_ins_count_and_vlans_stay_on_the_nic(tmp_path: Path) -> None:
    files = {
        "run/systemd/netif/links/2": USED
        + 'NETWORK_FILE_DROPINS="/etc/systemd/network/10-wired.network.d/more.conf"\n',
        "etc/systemd/network/10-wired.network": "[Match]\nMACAddress=02:00:00:00:00:05\n"
        "[Link]\nMTUBytes=9000\nRequiredForOnline=routable\n"
        "[Network]\nDHCP=yes\nVLAN=v5\n# by hand\n",
        "etc/systemd/network/10-wired.network.d/more.conf": "[Network]\nDNS=192.0.2.53\n",
        "run/systemd/netif/leases/2": "ADDRESS=192.0.2.5\nCLIENTID=ff0a0b0c0d00020000ab11aabb\n",
    }
    told = networkd.Networkd().trial(WANTED, tree(tmp_path, files))
    texts = {path.name: text or "" for path, text in told.files.items()}
    bridge, nic = texts["00-onestack-br-eno1.network"], texts["00-onestack-eno1.network"]
    assert "DNS=192.0.2.53" in bridge and "DHCP=yes" in bridge and "VLAN" not in bridge
    assert "MACAddress" not in bridge and "MTUBytes" not in bridge
    assert "RequiredForOnline=routable" in bridge and "IAID=168496141" in bridge
    assert "VLAN=v5" in nic and "MTUBytes=9000" in nic and "Bridge=br-eno1" in nic
    assert "RequiredForOnline=no" in nic and "routable" not in nic
    assert f"MACAddress={MAC}" in texts["00-onestack-br-eno1.netdev"]
