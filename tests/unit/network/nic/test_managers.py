"""Who configures a NIC, as files tell it; and what no tool at hand can be asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onestack.model.errors import OnestackError
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
        (
            {"run/NetworkManager/devices/2": MANAGED, f"{ETH}/ifcfg-eno1": "DEVICE=eno1\n"},
            "network-scripts",
        ),
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


def test_ifcfg_files_as_in_the_notes(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{ETH}/ifcfg-eno1": NOTES,
            f"{ETH}/route-eno1": "10.0.0.0/8 via 10.50.14.254 dev eno1\n",
            f"{ETH}/rule-eno1": "iif eno1 table 100\n",
        },
    )
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
    tree(root, {"run/NetworkManager/NetworkManager.pid": "1"})
    assert ifcfg.Ifcfg().lasting(WANTED, root).commands == (("nmcli", "connection", "reload"),)


def test_a_bond_stays_a_bond(tmp_path: Path) -> None:
    text = 'DEVICE=bond0\nBONDING_OPTS="mode=1"\nIPADDR=192.0.2.5\n'
    wanted = Handover("bond0", "br-bond0", MAC, 1500)
    nic, bridge = ifcfg.split(text, wanted)
    assert 'BONDING_OPTS="mode=1"' in nic and "IPADDR" not in nic
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
