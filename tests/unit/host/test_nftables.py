"""Rules of packet filters, and tables of our own among them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from onestack.host import command, iptables, nftables
from onestack.model.errors import OnestackError
from tests.support import networks
from tests.support.needs import needs_root

NAMED = """
table inet f {
  map verdicts { type ifname : verdict; elements = { eno1 : accept } }
  set ports { type ifname . inet_service; elements = { eno1 . 22 } }
  set some { type ifname; flags interval; elements = { "eno*" } }
  set others { type ifname; elements = { eno11, "br-eno1" } }
  chain eno1 { }
  chain by_map { iifname vmap { lo : accept, eno1 : jump eno1 }; }
  chain outward { oifname eno1 masquerade; }
  chain by_port { iifname . tcp dport { eno1 . 22, "eno*" . 80 } accept; }
  chain marked { meta mark set iifname map { eno1 : 5 }; iifname "eno1" accept; }
  chain begun { iifname { "e*", "lo" } accept; }
  chain no { iifname eno11 log prefix "eno1" jump eno1; iifname != @others drop comment "eno1"; }
}
table ip nat { chain post { oifname != "eno1" accept; }; }
"""


@needs_root
def test_whatever_names_a_device_is_found() -> None:
    with networks.alone():
        subprocess.run(["nft", "-f", "-"], input=NAMED, text=True, check=True)
        rules = nftables.ruleset()
    names = [*("verdicts", "ports", "some"), *("by_map", "by_port", "marked", "marked", "begun")]
    assert sorted(nftables.naming(rules, "eno1")) == sorted(
        [
            *(f"{name} of the table inet f" for name in (*names, "outward")),
            "post of the table ip nat",
        ]
    )
    assert list(nftables.naming(rules, "br-eno1")) == ["others of the table inet f"]


@needs_root
def test_the_older_filters_rules_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("iptables-legacy"):
        pytest.skip("needs iptables")
    with networks.alone():
        assert iptables.saved() == {}
        for line in (
            "iptables-legacy -P INPUT DROP",
            "iptables-legacy -A INPUT -i eno+ -p tcp -j ACCEPT",
            "iptables-legacy -A INPUT -i eno11 -m comment --comment eno1 -j ACCEPT",
            "iptables-legacy -t nat -A POSTROUTING ! -o eno1 -j RETURN",
            "ip6tables-legacy -A FORWARD -o br-eno1 -j ACCEPT",
        ):
            subprocess.run(line.split(), check=True)
        saved = iptables.saved()
        assert sorted(iptables.naming(saved, "eno1")) == [
            "INPUT of the table ip filter (iptables)",
            "POSTROUTING of the table ip nat (iptables)",
        ]
        assert list(iptables.naming(saved, "br-eno1")) == [
            "FORWARD of the table ip6 filter (iptables)"
        ]
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(iptables, "run", lambda *_, **__: command.run(["/nowhere/program"]))
        with pytest.raises(OnestackError, match="the rules of iptables cannot be looked at"):
            iptables.saved()


def test_tables() -> None:
    both = [{"table": {"family": family, "name": "a", "handle": 1}} for family in ("inet", "arp")]
    sets = [
        {"set": {"family": "inet", "table": "a", "name": "s", "elem": ["eth0", "eth1"]}},
        {"set": {"family": "arp", "table": "a", "name": "s"}},
        {"set": {"family": "inet", "table": "b", "name": "s", "elem": ["eth2"]}},
        {"set": {"family": "inet", "table": "a", "name": "t", "elem": ["eth3"]}},
    ]
    rules = {"nftables": [{"metainfo": {}}, *both, *sets]}
    assert nftables.missing(rules, "a") == []
    assert nftables.missing(rules, "b") == ["table inet b", "table arp b"]
    assert nftables.missing({"nftables": [{"metainfo": {}}, both[0]]}, "a") == ["table arp a"]
    assert nftables.missing({"nftables": []}, "b") == []
    assert nftables.elements(rules, "a", "s") == {"inet": {"eth0", "eth1"}, "arp": set()}


def test_where_nobody_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise OnestackError("nft is not there")

    monkeypatch.setattr(nftables, "run", run)
    monkeypatch.setattr(iptables, "tables", lambda _: [])
    assert nftables.ruleset() == {"nftables": []}


@needs_root
def test_rules_of_both_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("iptables-legacy"):
        pytest.skip("needs iptables")
    with networks.alone():
        for line in ("iptables-legacy -P FORWARD DROP", "nft add table inet a"):
            subprocess.run(line.split(), check=True)
        rules = nftables.ruleset()
        assert nftables.missing(rules, "a", ["inet"]) == []
        assert nftables.missing(rules, "b", ["inet"]) == ["table inet b"]
        older = [part["chain"] for part in rules["nftables"] if "chain" in part]
        assert {chain["name"]: chain["policy"] for chain in older} == {
            "INPUT": "accept",
            "FORWARD": "drop",
            "OUTPUT": "accept",
        }
        # where only the older one can be asked, nobody can say which tables nft has
        monkeypatch.setattr(nftables, "listed", lambda: {"nftables": []})
        rules = nftables.ruleset()
        assert rules["nftables"] and nftables.missing(rules, "b") == []
