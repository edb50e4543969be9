"""Whose packet filter drops what is forwarded, and what comes to the machine."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from onestack.components.openvswitch.forwarding import cut_off, opening
from onestack.components.ovn import Ovn
from onestack.host import command, filters, iptables, nftables
from onestack.host.facts import HostFacts
from onestack.host.filters import ClosedChain
from onestack.model.context import Context
from tests.support import machines, networks
from tests.support.filters import filters_of
from tests.support.machines import with_datapath
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.components.rooms import context_on


def ruleset(policy: str, *rules: list[dict[str, Any]], family: str = "ip") -> dict[str, Any]:
    place = {"family": family, "table": "filter"}
    chain = {**place, "name": "FORWARD", "hook": "forward", "policy": policy}
    other = {**place, "name": "INPUT", "hook": "input", "policy": "drop"}
    each = [{"rule": {**place, "chain": "FORWARD", "expr": rule}} for rule in rules]
    return {"nftables": [{"metainfo": {}}, {"chain": chain}, {"chain": other}, *each]}


def match(device: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": device}}


DROPS = "FORWARD of the table ip filter"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (ruleset("accept"), []),
        (ruleset("drop"), [DROPS]),
        (ruleset("drop", family="ip6"), []),
        (ruleset("drop", family="inet"), ["FORWARD of the table inet filter"]),
        (ruleset("drop", [match("docker0"), {"accept": None}]), [DROPS]),
        (ruleset("drop", [match("br-ex"), {"counter": {}}, {"accept": None}]), []),
        (ruleset("drop", [match("br-ex"), {"drop": None}]), [DROPS]),
        ({"nftables": []}, []),
    ],
)
def test_chains_that_drop(rules: dict[str, Any], found: list[str]) -> None:
    chains = filters.closed_chains(rules, "eth0")
    assert [chain.name for chain in chains if chain.drops("br-ex")] == found


def test_chains_at_another_hook() -> None:
    for protocol in ("tcp", "udp"):
        ((chain, shut),) = filters.shut_ports(ruleset("accept"), "mg-toy", [80], protocol)
        assert chain.name == "INPUT of the table ip filter" and shut == [80]
        assert chain.opening({"in": "mg-toy"}) == "iptables -I INPUT -i mg-toy -j ACCEPT"


@pytest.mark.parametrize("name", ["firewalld", "ufw"])
def test_rules_of_known_tools(name: str) -> None:
    (chain,) = filters.closed_chains(filters_of(name), "eth9")
    assert chain.setter == name and chain.drops("br-ex")
    # and once somebody has typed what they are told
    for outside in ("eth9", "eth0"):
        opened = [*filters.closed_chains(filters_of(f"{name}-opened"), outside)]
        assert [chain.arriving.drops("br-ex") for chain in opened] == [False]
        assert [chain.arriving.drops("br-two") for chain in opened] == [True]
        assert not any(chain.leaving.drops("br-ex") for chain in opened)


def test_what_may_pass_is_not_said_to_be_dropped() -> None:
    """firewalld lets through what stays in a zone, and all devices are in one at first."""
    (known,) = filters.closed_chains(filters_of("firewalld"), "eth0")
    assert known.arriving.drops("br-ex") and not known.leaving.drops("br-ex")
    assert not known.drops("br-ex")
    # where nobody knows the way to the outside, that may be it
    (nobody,) = filters.closed_chains(filters_of("firewalld"))
    assert not nobody.drops("br-ex")


def hybrid(path: Path, **changes: Any) -> Context:
    """Where guests are behind bridges of the kernel's."""
    here = dataclasses.replace(with_datapath(machines.machine(), kernel=False), **changes)
    return context_on(here, path, CONFIG_NEUTRON_L2_AGENT="openvswitch")


@pytest.mark.parametrize(
    ("name", "cures"),
    [
        ("firewalld", ["firewall-cmd --permanent --new-zone=qbr"]),
        ("firewalld-bridges", []),
        # neutron's rules come first there
        ("ufw", []),
    ],
)
def test_guests_behind_bridges(tmp_path: Path, name: str, cures: list[str]) -> None:
    closed = (*filters.closed_chains(filters_of(name), "eth0"),)
    found = [*cut_off(hybrid(tmp_path), closed)]
    assert [cure.partition(";")[0] for _, _, cure in found] == cures
    # what stays in one zone of firewalld's passes, if that has the device
    (own,) = filters.closed_chains(filters_of("firewalld"))
    assert own.within.drops("br-eno1") and not own.within.drops("eth0")
    # there is none where the switch itself is the filter
    in_kernel = hybrid(tmp_path, modules=("openvswitch",))
    ovn = context_on(in_kernel.facts, tmp_path, Ovn(), CONFIG_NEUTRON_L2_AGENT="ovn")
    for other in (in_kernel, dataclasses.replace(ovn, host=hybrid(tmp_path).host)):
        assert [*cut_off(other, closed)] == []


def test_the_older_filter_before_neutrons_rules(tmp_path: Path) -> None:
    (chain,) = filters.closed_chains({"nftables": [*iptables.parts({"ip": OLDER})]})
    ctx = hybrid(tmp_path)
    assert [*cut_off(ctx, [chain])] == [*cut_off(ctx, [chain], True)] == []
    ((_, _, cure),) = cut_off(ctx, [chain], False)
    assert cure == "iptables-legacy -I FORWARD -i qbr+ -j ACCEPT"
    for name, expected in (("xtables-legacy-multi", True), ("xtables-nft-multi", False)):
        (tmp_path / name).touch()
        link = tmp_path / f"to-{name}"
        link.symlink_to(name)
        assert iptables.is_older(link) == expected


def test_what_was_found_is_kept_with_the_facts() -> None:
    closed = (*filters.closed_chains(filters_of("firewalld-opened"), "eth0"),)
    assert closed and "br-ex" in closed[0].leaving.spared and "*" in closed[0].within.closed
    facts = machines.machine(closed_forwarding=closed)
    assert HostFacts.from_json(facts.to_json()) == facts


def test_ports_that_are_shut() -> None:
    wanted = [22, 5000, 8774]
    shut = {
        name: [ports for _, ports in filters.shut_ports(filters_of(name), "eth0", wanted)]
        for name in ("firewalld", "firewalld-opened", "ufw")
    }
    assert shut == {"firewalld": [[5000, 8774]], "firewalld-opened": [], "ufw": [[5000, 8774]]}
    assert [*filters.shut_ports(filters_of("firewalld"), "lo", wanted)] == []


INPUT = """
table inet own {{
  set open {{ type ifname . inet_service; elements = {{ eth0 . 22, eth1 . 8774 }} }}
  map by_port {{ type inet_service : verdict; elements = {{ 5000 comment "x" : accept }} }}
  chain own {{ tcp dport 5000 accept; }}
  chain in {{
    type filter hook input priority filter; policy drop;
    ct state vmap {{ established : accept, related : accept, invalid : drop }}
    {rule}
  }}
}}
"""


@needs_root
@pytest.mark.parametrize(
    ("rule", "shut"),
    [
        ("iifname . tcp dport @open accept", [5000, 8774]),
        ("iifname eth0 tcp dport { 5000, 8000-9000 } accept", [22]),
        ("iifname { eth0, eth1 } accept", []),
        ("iifname != eth0 accept", [22, 5000, 8774]),
        ("tcp dport != 22 accept", [22]),
        ("meta l4proto { tcp, udp } th dport 5000 accept", [22, 8774]),
        ("udp dport { 22, 5000, 8774 } accept", [22, 5000, 8774]),
        # not known, and so not said
        ("ip saddr 10.0.0.0/8 accept", []),
        ("ip saddr != 10.0.0.0/8 drop; accept", []),
        ("tcp dport 5000 limit rate 100/second accept", [22, 8774]),
        ("tcp dport >= 1024 accept", []),
        ("tcp dport 5000 jump { ip saddr 10.0.0.0/8 accept; }", [22, 8774]),
        ("jump { tcp dport 5000 counter; }", []),
        ("meta mark 5 goto own", [22, 8774]),
        ("meta protocol ip tcp dport 5000 accept", [22, 8774]),
        ("ether type ip accept", []),
        ("ip protocol tcp accept", []),
        ("iifname . tcp dport vmap { eth0 . 5000 : accept, eth1 . 22 : accept }", [22, 8774]),
        ("tcp dport vmap @by_port", [22, 8774]),
        ("udp dport != 53 accept", [22, 5000, 8774]),
        ("ip6 saddr != ::1 accept", [22, 5000, 8774]),
        ("icmp type != echo-request accept", [22, 5000, 8774]),
        ("ct status dnat accept", [22, 5000, 8774]),
        ("ip saddr 10.0.0.0/8 return; jump own", [22, 8774]),
        ("tcp dport 5000 ct count over 10 drop; tcp dport 5000 accept", [22, 8774]),
        ("meta nfproto ipv6 accept", [22, 5000, 8774]),
        ("tcp dport vmap { 22 : accept, 5000 : drop }", [5000, 8774]),
    ],
)
def test_ports_by_real_rules(rule: str, shut: list[int]) -> None:
    with networks.alone():
        text = INPUT.format(rule=rule.replace("; ", "\n    "))
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        found = [*filters.shut_ports(nftables.ruleset(), "eth0", [22, 5000, 8774])]
    assert [ports for _, ports in found] == ([shut] if shut else [])


CLOSED_INPUT = {
    "iptables": "iptables -P INPUT DROP; iptables -A INPUT -m state --state RELATED -j ACCEPT",
    "the older filter": "iptables-legacy -P INPUT DROP",
    "nftables": "nft add table inet own; "
    "nft add chain inet own in '{ type filter hook input priority 5; policy drop; }'",
}


@needs_root
@pytest.mark.parametrize("kind", CLOSED_INPUT)
@pytest.mark.parametrize("rule", [{}, {"in": "eth0"}], ids=["anywhere", "by a device"])
def test_ports_are_open_once_that_is_typed(kind: str, rule: dict[str, str]) -> None:
    if not shutil.which("iptables-legacy"):
        pytest.skip("needs iptables")
    wanted = [22, 443, *range(5000, 5016)]
    ports = ",".join(map(str, wanted[1:]))

    def shut(device: str) -> list[list[int]]:
        return [each for _, each in filters.shut_ports(nftables.ruleset(), device, wanted)]

    with networks.alone():
        subprocess.run(["sh", "-ec", CLOSED_INPUT[kind]], check=True)
        assert shut("eth0") == [wanted]
        ((chain, _),) = filters.shut_ports(nftables.ruleset(), "eth0", wanted)
        subprocess.run(["sh", "-ec", chain.opening({**rule, "dport": ports})], check=True)
        assert shut("eth0") == [[22]]
        assert shut("eth1") == [wanted if rule else [22]]


FORWARDED = """
table {table} {{
  chain {name} {{
    type filter hook {hook} priority 0; policy {policy};
    ct state established,related accept
    {rules}
  }}
}}
"""


def by_nft(rules: str, hook: str = "forward", policy: str = "drop", **named: str) -> None:
    here = {"table": "inet own", "name": "f"} | named
    text = FORWARDED.format(hook=hook, policy=policy, rules=rules.replace("; ", "\n"), **here)
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


@needs_root
@pytest.mark.parametrize(
    ("rules", "both", "arriving"),
    [
        ("", True, True),
        ("iifname docker0 accept", True, True),
        ("oifname eth0 accept", False, True),
        ("iifname . oifname { br-ex . eth0 } accept", False, True),
        # to another device than the default route's: somebody's decision
        ("iifname br-ex oifname eth1 accept; iifname eth1 oifname br-ex accept", False, False),
        ("iifname . oifname vmap { br-ex . eth1 : accept, eth1 . br-ex : accept }", False, False),
        ("ip saddr 10.50.14.0/24 accept; ip daddr 10.50.14.0/24 accept", False, False),
        ("iifname br-ex ip saddr 10.50.14.0/24 accept", False, True),
        ("meta mark 5 accept", False, False),
        ("jump { ip saddr 10.50.14.0/24 accept; }", False, False),
        # a published port, as Docker has it
        ("oifname docker0 ip daddr 172.17.0.2 tcp dport 80 accept", True, True),
    ],
)
def test_what_is_forwarded_by_real_rules(rules: str, both: bool, arriving: bool) -> None:
    with networks.alone():
        by_nft(rules.replace("accept; }", "accept\n }"))
        found = [*filters.closed_chains(nftables.ruleset(), "eth0")]
    assert any(chain.drops("br-ex") for chain in found) == both
    assert any(chain.arriving.drops("br-ex") for chain in found) == arriving


@needs_root
@pytest.mark.parametrize("match", ["ct state new", 'iifname "eth0"', "ip saddr 10.0.0.0/8"])
@pytest.mark.parametrize("hook", ["forward", "input"])
@pytest.mark.parametrize("policy", ["accept", "drop"])
def test_a_chain_without_a_name(match: str, hook: str, policy: str) -> None:
    """nft does not print one in JSON: it is there as a text among the rest."""
    with networks.alone():
        by_nft(match + " jump {\n tcp dport 22 counter\n}", hook, policy)
        rules = nftables.ruleset()
        shut = [ports for _, ports in filters.shut_ports(rules, "eth1", [5000])]
        closed = [chain.drops("br-ex") for chain in filters.closed_chains(rules, "eth1")]
    # what comes by another device does not go there
    sure = match.startswith("iifname") and policy == "drop"
    assert shut == ([[5000]] if sure and hook == "input" else [])
    assert closed == ([True] if sure and hook == "forward" else [])


PARTS: list[Any] = [
    *("text", 7, None, [], {}, {"match": None}, {"match": {}}, {"match": {"op": "=="}}),
    *({"vmap": None}, {"vmap": {"key": {}, "data": "@none"}}, {"vmap": {"key": 1, "data": [[1]]}}),
    *({"jump": None}, {"jump": "x"}, {"goto": {"target": None}}, {"jump": {"target": "none"}}),
    *({"xt": None}, {"xt": {}}, {"xt": {"type": "target", "name": "TARPIT"}}, {"new": "words"}),
    {"match": {"op": "==", "left": {"meta": 5}, "right": {"set": {}}}},
    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": [["new"]]}},
    {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": [None, 7]}}},
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_form_that_nobody_knows_leads_to_no_verdict(
    part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a rule; and of a whole chain or set, which then is not looked at."""
    monkeypatch.setattr(iptables, "run", lambda *_, **__: command.run(["/nowhere/program"]))
    accepts = [part, {"accept": None}]
    for expr in ([part], accepts, part):
        rules = ruleset("drop", expr)
        rules["nftables"] += [{"chain": part}, {"set": part}, {"map": part}, {"rule": part}]
        own = iptables.explained(rules["nftables"])
        found = [*filters.closed_chains({"nftables": own}, "eth0")]
        if expr is accepts:
            assert not any(chain.drops("br-ex") for chain in found)
        assert [*filters.shut_ports({"nftables": own}, "eth0", [80])]


@needs_root
@pytest.mark.parametrize("name", ["INPUT", "input"])
def test_a_table_by_the_name_of_iptables_own(name: str) -> None:
    """As in examples that come with nftables: iptables cannot change it."""
    with networks.alone():
        by_nft("tcp dport 22 accept", "input", table="ip filter", name=name)
        ((chain, shut),) = filters.shut_ports(nftables.ruleset(), "eth0", [22, 5000])
        assert shut == [5000]
        words = chain.opening({"in": "eth0", "dport": "5000"})
        assert words.startswith(f"nft insert rule ip filter {name} ")
        subprocess.run(["sh", "-ec", words], check=True)
        assert [*filters.shut_ports(nftables.ruleset(), "eth0", [22, 5000])] == []


NEUTRON = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:neutron-openvswi-FORWARD - [0:0]
:neutron-openvswi-INPUT - [0:0]
:neutron-openvswi-sg-chain - [0:0]
-A INPUT -j neutron-openvswi-INPUT
-A FORWARD -j neutron-openvswi-FORWARD
-A neutron-openvswi-FORWARD -m physdev --physdev-out tap0 --physdev-is-bridged -j ACCEPT
-A neutron-openvswi-INPUT -m physdev --physdev-in tap1 --physdev-is-bridged -j neutron-openvswi-sg-chain
-A neutron-openvswi-sg-chain -j ACCEPT
COMMIT
"""  # noqa: E501


def test_what_neutron_lets_pass_a_bridge_is_nothing_of_what_is_forwarded() -> None:
    rules = {"nftables": [*iptables.parts({"ip": NEUTRON}, "iptables")]}
    (chain,) = filters.closed_chains(rules, "eth0")
    assert chain.drops("br-ex") and not chain.within.drops("qbr12345678-9a")
    assert [ports for _, ports in filters.shut_ports(rules, "eth0", [5000])] == [[5000]]


def docker(chain: str) -> list[dict[str, Any]]:
    """What it adds: chains of its own, at the head of FORWARD."""
    place = {"family": "ip", "table": "filter"}
    own = {"target": "DOCKER-USER"}
    jump = {"rule": {**place, "chain": chain, "expr": [{"counter": {}}, {"jump": own}]}}
    return [{"chain": {**place, "name": "DOCKER-USER"}}, jump]


def test_who_has_closed_it_where_there_are_two() -> None:
    """Of ufw and Docker it is ufw whose words last; and at ``input`` Docker closes nothing."""
    both = {"nftables": [*filters_of("ufw")["nftables"], *docker("FORWARD")]}
    (chain,) = filters.closed_chains(both, "eth0")
    assert chain.setter == "ufw" and chain.drops("br-ex")
    ((chain, _),) = filters.shut_ports(both, "eth0", [5000])
    assert chain.setter == "ufw"
    alone = ruleset("drop")
    alone["nftables"] += docker("FORWARD")
    (chain,) = filters.closed_chains(alone, "eth0")
    assert chain.setter == "Docker"
    ((chain, _),) = filters.shut_ports(alone, "eth0", [5000])
    assert chain.setter == "" and chain.opening({"dport": "5000"}).startswith("iptables -I INPUT")


@needs_root
def test_what_iptables_does_not_know_in_its_table_is_as_nft_says() -> None:
    """A map of nftables' in the table of iptables."""
    lines = (
        "iptables -A FORWARD -m state --state RELATED -j ACCEPT",
        "nft add chain ip filter own '{ type filter hook forward priority 9; policy drop; }'",
        "nft add rule ip filter own iifname vmap '{ br-two : accept }'",
    )
    with networks.alone():
        subprocess.run(["sh", "-ec", "; ".join(lines)], check=True)
        (chain,) = filters.closed_chains(nftables.ruleset(), "eth0")
    assert chain.name == "own of the table ip filter"
    assert chain.drops("br-ex") and not chain.drops("br-two")


def test_what_opens_them() -> None:
    ports = ",".join(map(str, range(5000, 5016)))
    chain = ClosedChain("input", "ip", "filter", "INPUT", program="iptables")
    first, second = chain.opening({"dport": ports}).split("; ")
    assert first.endswith("--dports " + ",".join(map(str, range(5000, 5015))) + " -j ACCEPT")
    assert second == "iptables -I INPUT -p tcp -m multiport --dports 5015 -j ACCEPT"
    (told,) = filters.closed_chains(filters_of("ufw"))
    assert opening(told, "br-ex") == "ufw route allow in on br-ex; ufw route allow out on br-ex"
    (told,) = filters.closed_chains(filters_of("firewalld"))
    assert opening(told, "br-ex").split("; ")[2:5] == [
        "firewall-cmd --permanent --new-policy=br-ex-o",
        "firewall-cmd --permanent --policy=br-ex-o --add-ingress-zone=br-ex",
        "firewall-cmd --permanent --policy=br-ex-o --add-egress-zone=ANY",
    ]


OLDER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:X - [0:0]
-A FORWARD -m conntrack ! --ctstate INVALID,NEW -j ACCEPT
-A FORWARD -s 10.0.0.0/8 ! -i lo -p tcp -m comment --comment "a -j b" -m multiport --dports 80,100:200 -g X
-A FORWARD -m physdev --physdev-is-bridged -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -i br+ -j LOG --log-prefix "x -j DROP"
COMMIT
*nat
:PREROUTING DROP [0:0]
COMMIT
"""  # noqa: E501


def test_rules_of_the_older_filter() -> None:
    found = [*iptables.parts({"ip": OLDER})]
    chains = {p["chain"]["name"]: p["chain"].get("policy") for p in found if "chain" in p}
    assert chains == {"INPUT": "accept", "FORWARD": "drop", "X": None}
    states, several, bridged, logged = [part["rule"]["expr"] for part in found if "rule" in part]
    new = {"left": {"ct": {"key": "state"}}, "right": {"set": ["invalid", "new"]}}
    assert states == [{"match": {"op": "!=", **new}}, {"accept": None}]
    lo = {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}
    ports = {"set": [80, {"range": [100, 200]}]}
    assert several[:2] == [{"xt": {"type": "match", "name": "-s"}}, lo] and several[-1] == {
        "goto": {"target": "X"}
    }
    assert several[3]["match"]["right"] == ports and len(several) == 5
    asked = {"left": {"meta": {"key": "bridged"}}, "right": "yes"}
    assert bridged == [{"match": {"op": "==", **asked}}, {"reject": None}]
    assert logged[1] == {"xt": {"type": "target", "name": "LOG"}} and len(logged) == 2
    # what jumps by an address alone, to a chain that is empty
    (closed,) = filters.closed_chains({"nftables": found})
    assert closed.name == "FORWARD of the table ip filter (iptables-legacy)"
    assert closed.drops("br-ex")
    wrong = OLDER.replace("80,100:200", "http,100:200")
    assert len([*iptables.parts({"ip": wrong})]) == len(found)


# -- with real packets --------------------------------------------------------


@contextmanager
def machine() -> Iterator[tuple[int, int]]:
    """The calling thread is a machine between ``br-ex`` and ``eth0``, with somebody at each."""
    words = ["unshare", "--net", "sleep", "60"]
    with networks.alone(), subprocess.Popen(words) as guest, subprocess.Popen(words) as outside:
        here = Path("/proc/thread-self/ns/net").stat().st_ino

        def apart(pid: int) -> bool:
            return Path(f"/proc/{pid}/ns/net").stat().st_ino != here

        try:
            for number, (device, pid) in enumerate((("br-ex", guest.pid), ("eth0", outside.pid))):
                assert soon(lambda pid=pid: apart(pid))  # type: ignore[misc]
                inside = f"nsenter --target {pid} --net ip"
                for line in (
                    f"ip link add {device} type veth peer name far netns {pid}",
                    f"ip address add 198.51.{number}.1/24 dev {device}",
                    f"ip link set {device} up",
                    f"{inside} address add 198.51.{number}.2/24 dev far",
                    f"{inside} link set far up",
                    f"{inside} route add default via 198.51.{number}.1",
                ):
                    subprocess.run(line.split(), check=True)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
            yield guest.pid, outside.pid
        finally:
            guest.kill()
            outside.kill()


def reaches(pid: int, address: str) -> bool:
    ping = ["nsenter", "--target", str(pid), "--net", "ping", "-c1", "-W1", address]
    return subprocess.run(ping, capture_output=True).returncode == 0


FILTERS = {
    "iptables' policy": "iptables -P FORWARD DROP",
    "iptables' last rule": "iptables -A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT; "
    "iptables -A FORWARD -j REJECT",
    "the older filter": "iptables-legacy -P FORWARD DROP",
    "nftables' policy": "nft add table inet own; nft add chain inet own f "
    "'{ type filter hook forward priority 5; policy drop; }'",
    "nftables' last rule": "nft add table ip own; nft add chain ip own f "
    "'{ type filter hook forward priority 0; }'; nft add chain ip own g; "
    "nft add rule ip own f ct state vmap '{ established : accept, related : accept }'; "
    "nft add rule ip own f goto g; nft add rule ip own g iifname != docker0 counter drop",
}


@needs_root
@pytest.mark.parametrize("kind", FILTERS)
def test_what_is_said_is_so_and_what_is_typed_helps(kind: str) -> None:
    if not (shutil.which("iptables-legacy") and shutil.which("ping")):
        pytest.skip("needs iptables and ping")

    def closed() -> list[ClosedChain]:
        found = filters.closed_chains(nftables.ruleset(), "eth0")
        return [chain for chain in found if chain.drops("br-ex")]

    with machine() as (guest, outside):
        assert closed() == []
        assert reaches(guest, "198.51.1.2") and reaches(outside, "198.51.0.2")
        subprocess.run(["sh", "-ec", FILTERS[kind]], check=True)
        (chain,) = closed()
        assert not reaches(guest, "198.51.1.2") and not reaches(outside, "198.51.0.2")
        subprocess.run(["sh", "-ec", opening(chain, "br-ex")], check=True)
        assert closed() == []
        assert reaches(guest, "198.51.1.2") and reaches(outside, "198.51.0.2")


BRIDGE = "qbr12345678-9a"


@needs_root
def test_bridges_before_guests_are_asked_of_the_filter_too(tmp_path: Path) -> None:
    """As with iptables_hybrid, where one is between each guest and the switch."""
    asked = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not (shutil.which("ping") and asked.exists()):
        pytest.skip("needs br_netfilter and ping")

    def found() -> list[str]:
        closed = filters.closed_chains(nftables.ruleset())
        return [cure for _, _, cure in cut_off(hybrid(tmp_path), [*closed], False)]

    with machine() as (guest, outside):
        asked.write_text("1\n")
        for line in (
            f"ip link add {BRIDGE} type bridge",
            f"ip link set {BRIDGE} up",
            "ip address flush dev br-ex",
            "ip address flush dev eth0",
            f"ip link set br-ex master {BRIDGE}",
            f"ip link set eth0 master {BRIDGE}",
            f"nsenter --target {outside} --net ip address add 198.51.0.9/24 dev far",
        ):
            subprocess.run(line.split(), check=True)
        assert soon(lambda: reaches(guest, "198.51.0.9")) and found() == []
        subprocess.run(["sh", "-ec", FILTERS["nftables' policy"]], check=True)
        (cure,) = found()
        assert not reaches(guest, "198.51.0.9")
        subprocess.run(["sh", "-ec", cure], check=True)
        assert found() == [] and reaches(guest, "198.51.0.9")
