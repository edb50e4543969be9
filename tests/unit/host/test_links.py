"""Network devices as the kernel tells them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from onestack.host import links


def test_the_same_as_ip_says() -> None:
    said = subprocess.run(["ip", "-j", "addr", "show"], capture_output=True, check=True).stdout
    assert links.addresses() == {
        entry["ifname"]: tuple(
            f"{a['local']}/{a['prefixlen']}" for a in entry["addr_info"] if a["scope"] == "global"
        )
        for entry in json.loads(said)
    }


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0
"""


def test_the_nic_of_the_default_route() -> None:
    assert links.default_nic(ROUTES) == "wlan0"
    assert links.default_nic("head\n") == ""


def test_who_configures_the_nic(tmp_path: Path) -> None:
    (tmp_path / "etc/netplan").mkdir(parents=True)
    (tmp_path / "etc/netplan/01.yaml").write_text("network:\n ethernets:\n  ens3: {}\n")
    (tmp_path / "etc/network").mkdir()
    (tmp_path / "etc/network/interfaces").write_text("iface ens3 inet dhcp\n")
    assert links.managers("ens3", tmp_path) == ("netplan", "ifupdown")
    assert links.managers("ens33", tmp_path) == ()
