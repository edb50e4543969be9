"""Whether a guest finds the machine on the guest's own network, where only the switch is."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.support.clouds import CloudUnderTest, wait_until

REACHABLE = "0x2"
"""In /proc/net/arp: somebody has answered."""
KEEPER = "openvswitch/guests-unheard"


def tried(cloud: CloudUnderTest, inside: Callable[[str], str]) -> None:
    """``inside`` types a line in a guest, whose network has neither port nor address of ours."""
    (device,) = json.loads(cloud.type("ip -json -4 address show dev public0"))
    address = device["addr_info"][0]["local"]
    assert not found(inside, address)
    if cloud.type("ovs-vsctl get bridge br-int datapath_type").strip() != "netdev":
        return
    listed = json.loads(cloud.type("nft -j list tables"))["nftables"]
    tables = [part["table"] for part in listed if "table" in part]
    ours = [t for t in tables if t["name"].endswith("_guests_unheard")]
    assert sorted(table["family"] for table in ours) == ["arp", "inet"]

    def gone() -> bool:
        for table in ours:
            name = f"table {table['family']} {table['name']}"
            # whether it is there or not
            cloud.type(f"nft add {name}")
            cloud.type(f"nft delete {name}")
        return True

    # without them it is found; the keeper looks each half minute, and puts them back
    wait_until("an answer", lambda: gone() and found(inside, address), 120)
    cure = f"onestack restart {KEEPER}"

    def told() -> bool:
        return gone() and cure in cloud.onestack("doctor", expect=None).stdout

    wait_until("doctor to tell", told, 120)
    gone()
    wait_until("the rules, by themselves", lambda: not found(inside, address), 60)
    cloud.onestack("restart", KEEPER)
    assert not found(inside, address)
    assert KEEPER not in cloud.onestack("doctor", expect=None).stdout


def found(inside: Callable[[str], str], address: str) -> bool:
    """Whether anybody answers for ``address`` on the guest's own network."""
    route = f"{address} dev eth0"
    inside(f"sudo ip route add {route}; ping -c 2 -W 2 {address} >/dev/null 2>&1; true")
    known = [line.split() for line in inside("cat /proc/net/arp").splitlines()]
    inside(f"sudo ip route delete {route}; sudo ip neigh flush dev eth0; true")
    return any(line[0] == address and line[2] == REACHABLE for line in known)
