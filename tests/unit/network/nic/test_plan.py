"""From what ``ip -json`` says to the lines of a move. No command is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onestack.model.findings import Finding, Severity
from onestack.network.nic import plan, words
from onestack.network.nic.facts import Device, Facts
from onestack.network.nic.fitness import Fit, Way, judge
from onestack.network.nic.words import NotKnown

CAPTURED = Path(__file__).with_name("captured")


def captured(name: str) -> Facts:
    return Facts.of(json.loads((CAPTURED / f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def device() -> Device:
    return captured("everything").device("eno1", {"ipv6/conf/accept_ra": "2"})


def test_what_hangs_on_a_nic_is_found(device: Device) -> None:
    assert device.texts == (
        *("192.0.2.5/24", "203.0.113.9/25", "192.0.2.6/24"),
        *("2001:db8:1::5/64", "2001:db8::5/64"),
    )
    # the kernel makes 192.0.2.0/24 by itself; of the address without a route it does not
    assert [r["dst"] for r in device.routes if r["family"] == 4] == [
        *("10.9.0.0/16", "default", "10.0.0.0/8", "10.77.0.0/16", "203.0.113.0/25")
    ]
    assert {r["dst"] for r in device.routes if r["family"] == 6} == {"2001:db8:9::/48", "default"}
    assert [(r["family"], r["priority"]) for r in device.rules] == [(4, 1000), (4, 1001), (6, 1000)]
    assert device.gateways == ("192.0.2.1", "2001:db8::1")
    assert device.needed
    assert Device.of(json.loads(json.dumps(device.plain))) == device


def test_the_lines_of_a_move(device: Device) -> None:
    (make,) = plan.make_bridge(device, "br-eno1")
    assert make == (
        "link add name br-eno1 address 02:00:00:00:00:05 mtu 1400 type bridge "
        "stp_state 0 forward_delay 0 mcast_snooping 0"
    )
    lines = plan.over(device, "br-eno1")
    assert lines[:2] == ["link set dev br-eno1 up", "link set dev eno1 up master br-eno1"]
    assert (
        "-4 route replace default table main via 192.0.2.1 dev br-eno1 proto dhcp scope global "
        "src 192.0.2.5 metric 100 mtu 1300" in lines
    )
    assert (
        "-4 route replace 10.77.0.0/16 table main proto boot scope global "
        "nexthop via 192.0.2.1 dev br-eno1 weight 1 nexthop via 192.0.2.2 dev br-eno1 weight 2"
        in lines
    )
    assert (
        "-4 route replace 10.9.0.0/16 table 100 via 203.0.115.254 dev br-eno1 onlink proto boot "
        "scope global" in lines
    )
    assert "address replace 192.0.2.6/24 dev br-eno1 scope global label br-eno1:1" in lines
    assert "-4 rule add priority 1000 from all iif br-eno1 lookup 100" in lines
    assert "-4 rule delete priority 1000 from all iif eno1 lookup 100" in lines
    permanent = "neigh replace 192.0.2.77 lladdr 02:00:00:00:00:77 dev br-eno1 nud permanent"
    assert permanent in lines
    # no address goes before it is on the bridge, and none after its routes
    gone = lines.index("address flush dev eno1")
    assert all(
        n < gone for n, line in enumerate(lines) if "replace" in line and "neigh" not in line
    )
    # what a gateway is reached by comes before it
    six = [line for line in lines if line.startswith("-6 route")]
    assert [line.split()[3] for line in six][-1] == "default"
    # as few programs as can be: all without a family, each family, and the rest
    assert [family for family, _ in plan.runs(lines)] == ["", "-4", "-6", ""]


def test_back_is_the_same_the_other_way(device: Device) -> None:
    lines = plan.back(device, "eno1", "br-eno1")
    assert lines[0] == "link set dev eno1 nomaster"
    assert "-4 rule add priority 1000 from all iif eno1 lookup 100" in lines
    assert "-4 rule delete priority 1000 from all iif br-eno1 lookup 100" in lines
    assert "link delete dev br-eno1" in lines
    replaced = [line for line in lines if "route replace" in line]
    assert replaced and all("br-eno1" not in line for line in replaced)


def test_what_differs_is_said(device: Device) -> None:
    plain = device.plain
    fewer: list[Any] = list(plain["addresses"])[1:]
    now = Device.of({**plain, "addresses": fewer})
    assert plan.difference(device, now) == ["the address 192.0.2.5/24 is missing on eno1"]
    # what passes is no difference
    older = [{**a, "valid_life_time": 7, "preferred_life_time": 7} for a in plain["addresses"]]
    assert plan.difference(device, Device.of({**plain, "addresses": older})) == []


def at(text: str, **more: Any) -> Device:
    local, _, length = text.partition("/")
    family = "inet6" if ":" in text else "inet"
    entry = {"family": family, "local": local, "prefixlen": int(length), "scope": "global"}
    return Device("eno1", "", 1500, True, ({**entry, **more},))


@pytest.mark.parametrize(
    ("had", "more", "now", "missing"),
    [
        # made of a router's advertisement: another one of its network will do
        ("2001:db8::a/64", {"dynamic": True}, "2001:db8::b/64", False),
        ("2001:db8::a/64", {"mngtmpaddr": True}, "2001:db8::b/64", False),
        ("2001:db8::a/64", {"dynamic": True}, "2001:db8:1::b/64", True),
        # by hand, by DHCP, and of the other family
        ("2001:db8::a/64", {}, "2001:db8::b/64", True),
        ("2001:db8::a/128", {"dynamic": True}, "2001:db8::b/64", True),
        ("192.0.2.5/24", {"dynamic": True}, "192.0.2.6/24", True),
        ("192.0.2.5/24", {"dynamic": True}, "192.0.2.5/24", False),
        ("fe80::1/64", {"scope": "link"}, "192.0.2.5/24", False),
    ],
)
def test_which_addresses_are_missed(
    had: str, more: dict[str, Any], now: str, missing: bool
) -> None:
    assert at(had, **more).missing(at(now)) == ([had] if missing else [])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"nhid": 7}, "it has nhid"),
        ({"encap": "mpls"}, "it has encap"),
        ({"flags": ["pervasive", "strange"]}, "it has the flags strange"),
        ({"metrics": [{"congctl": "bbr"}]}, "it has congctl"),
    ],
)
def test_what_is_not_known_is_not_moved(more: dict[str, Any], said: str) -> None:
    route = {"family": 4, "dst": "10.0.0.0/8", "gateway": "192.0.2.1", "dev": "eno1", **more}
    with pytest.raises(NotKnown, match=said) as found:
        words.route(route, "eno1", "br-eno1")
    assert "10.0.0.0/8 via 192.0.2.1" in str(found.value)


def test_names_are_as_long_as_the_kernel_takes() -> None:
    assert plan.bridge_name("eno1") == "br-eno1"
    assert plan.bridge_name("eno1.100") == "br-eno1-100"
    long = plan.bridge_name("enp129s0f0np0")
    assert len(long) == 15 and long != plan.bridge_name("enp129s0f0np1")
    assert plan.Pair.of("eno1", "br-ex") == plan.Pair("to-br-ex-eno1", "br-ex-eno1")
    pair = plan.Pair.of("enp129s0f0np0", "br-ex-second")
    assert len({pair.inner, pair.outer}) == 2 and len(pair.inner) == len(pair.outer) == 15


# -- which NIC can be attached ---------------------------------------------------


def link(name: str, kind: str = "", master: str = "", role: str = "", **more: Any) -> Any:
    """As much of ip's answer as is looked at."""
    info: dict[str, Any] = {"info_kind": kind} if kind else {}
    info |= {"info_slave_kind": role} if role else {}
    info |= {"info_data": {"mode": more.pop("mode")}} if "mode" in more else {}
    made = {"ifname": name, "link_type": "ether", "mtu": 1500, "flags": ["UP"], "linkinfo": info}
    return {**made, **({"master": master} if master else {}), **more}


def facts(*links: Any, **addresses: str) -> Facts:
    has = {
        name: ({"family": "inet", "local": text.split("/")[0], "prefixlen": 24, "scope": "global"},)
        for name, text in addresses.items()
    }
    return Facts(links, has, (), (), ())


SERVER = facts(
    link("lo", link_type="loopback"),
    link("eno1", master="bond0", role="bond"),
    link("bond0", "bond", mode="802.3ad"),
    link("bond0.100", "vlan", link="bond0"),
    link("balb", "bond", mode="balance-alb"),
    link("eno2"),
    link("eno3", master="vmbr0", role="bridge"),
    link("vmbr0", "bridge"),
    link("eno4", master="ovs-system", role="openvswitch"),
    link("eno5"),
    link("macvtap0", "macvtap", link="eno5"),
    link("eno6"),
    link("eno6.5", "vlan", link="eno6"),
    link("wlan0"),
    link("tap0", "tun"),
    link("wg0", "wireguard", link_type="none"),
    link("ib0", link_type="infiniband"),
    link("team1", master="team0", role="team"),
    **{"bond0.100": "192.0.2.5/24", "vmbr0": "198.51.100.5/24", "eno6": "203.0.113.5/24"},
)


@pytest.mark.parametrize(
    ("nic", "fit"),
    [
        ("bond0", Fit(Way.DIRECT)),
        ("bond0.100", Fit(Way.MOVE)),
        ("eno2", Fit(Way.DIRECT)),
        ("eno3", Fit(Way.BRIDGED, "vmbr0")),
        ("vmbr0", Fit(Way.BRIDGED, "vmbr0")),
        ("eno4", Fit(Way.SWITCHED)),
        # its VLANs hear their frames before a bridge does
        ("eno6", Fit(Way.MOVE)),
    ],
)
def test_what_can_be_attached(nic: str, fit: Fit) -> None:
    assert judge(SERVER, nic) == fit


@pytest.mark.parametrize(
    ("nic", "why", "cure"),
    [
        ("eno9", "eno1", "ip -br link"),
        ("eno1", "belong to that device", "onestack nic attach bond0"),
        ("team1", "belong to that device", "onestack nic attach team0"),
        ("balb", "balance-alb", "active-backup"),
        ("eno5", "macvtap0", "ip link delete macvtap0"),
        ("wlan0", "access point", "cable"),
        ("tap0", "program", ""),
        ("wg0", "no Ethernet frames", ""),
        ("ib0", "no Ethernet", ""),
        ("lo", "no Ethernet", ""),
    ],
)
def test_what_cannot_is_refused_with_the_reason(nic: str, why: str, cure: str) -> None:
    found = judge(SERVER, nic, wireless=nic == "wlan0")
    assert isinstance(found, Finding) and found.severity is Severity.REFUSE
    assert nic in found.what and why in found.why and cure in found.cure
