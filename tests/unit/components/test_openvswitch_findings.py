"""What is said of NICs, and which are refused, by what the kernel and the switch say."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onestack.components.openvswitch import Openvswitch, external, nics
from onestack.host import nftables, sysctl
from onestack.host.ledger import Ledger
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.findings import Severity
from onestack.network.nic import sharing
from onestack.network.nic.facts import Facts
from onestack.network.nic.fitness import Fit, Way
from onestack.network.nic.journal import KEPT, TRYING, Journal, Record
from onestack.network.nic.managers import networkd
from tests.support import networks
from tests.support.needs import needs_root
from tests.unit.components.rooms import context_on, machine

GIVEN = {
    "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,b:br-b",
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eno1",
}
ADDRESS = {"family": "inet", "local": "192.0.2.5", "prefixlen": 24, "scope": "global"}


def link(name: str, master: str = "", role: str = "bridge") -> dict[str, Any]:
    made: dict[str, Any] = {"ifname": name, "link_type": "ether", "mtu": 1500, "flags": ["UP"]}
    return {**made, "master": master, "linkinfo": {"info_slave_kind": role}} if master else made


def facts(*links: dict[str, Any], **has: dict[str, Any]) -> Facts:
    found = {name.replace("_", "-"): (each,) for name, each in has.items()}
    return Facts(links, found, (), (), ())


BRIDGE = {**link("br-eno1"), "linkinfo": {"info_kind": "bridge"}}
IN_PLACE = facts(BRIDGE, link("eno1", "br-eno1"), link("br-ex-eno1", "br-eno1"), br_eno1=ADDRESS)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context_on(machine(kernel=True), tmp_path, **GIVEN)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The switch's, with their bridges."""
    found = {"to-br-ex-eno1": "br-ex"}
    monkeypatch.setattr(nics, "_bridge_of", lambda _, port: found.get(port, ""))
    monkeypatch.setattr(sysctl, "read", lambda _: "0")
    return found


def said(ctx: Context, known: Facts, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(nics, "known", lambda _: known)
    return [f"{f.severity.value}: {f.what}: {f.cure}" for f in nics.after(ctx)]


def test_a_nic_that_is_not_where_it_is_to_be_is_found(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nics._file(ctx).parent.mkdir(parents=True)
    nics._file(ctx).write_text(nics.text(ctx))
    wrong = "refuse: eno1 is to be in br-ex, and is not: "
    restart = wrong + "onestack restart openvswitch/external-bridge"
    assert said(ctx, IN_PLACE, monkeypatch) == []
    loose = facts(BRIDGE, link("eno1", "br-eno1"), link("br-ex-eno1"))
    assert said(ctx, loose, monkeypatch) == [restart]
    ports.clear()
    assert said(ctx, IN_PLACE, monkeypatch) == [restart]
    back = facts(link("eno1"), eno1=ADDRESS)
    assert said(ctx, back, monkeypatch) == [wrong + "onestack nic attach eno1"]
    (gone,) = said(ctx, facts(), monkeypatch)
    assert gone.startswith("refuse: eno1 is to be in br-ex, and is not there: ")
    # one that the machine does not need is a port itself
    assert said(ctx, facts(link("eno1")), monkeypatch) == [restart]
    # the keeper's file is as somebody left it who was killed while giving it back
    nics._file(ctx).write_text("br-b\n")
    assert said(ctx, facts(link("eno1")), monkeypatch) == [wrong + "onestack up"]
    ports["eno1"] = "br-ex"
    for here in (facts(link("eno1")), facts(link("eno1", "ovs-system", "openvswitch"))):
        assert said(ctx, here, monkeypatch) == []


def test_a_filter_that_drops_what_passes_the_bridge_is_said(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward"}
    docker = {"family": "ip", "table": "filter", "name": "DOCKER-USER"}
    rules = {"nftables": [{"chain": {**chain, "policy": "drop"}}, {"chain": docker}]}
    monkeypatch.setattr(nftables, "ruleset", lambda _: rules)
    assert said(ctx, IN_PLACE, monkeypatch) == []
    monkeypatch.setattr(sysctl, "read", lambda _: "1")
    (found,) = said(ctx, IN_PLACE, monkeypatch)
    assert found.startswith("warn: guests are not reached by br-eno1")
    assert "iptables -I FORWARD -i br-eno1 -o br-eno1 -j ACCEPT" in found


def test_where_nics_are_and_what_is_wrong_is_asked_once(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def known(_: Context) -> Facts:
        asked.append("facts")
        return IN_PLACE

    def bridge_of(_: Context, port: str) -> str:
        asked.append(port)
        return ""

    monkeypatch.setattr(nics, "known", known)
    monkeypatch.setattr(nics, "_bridge_of", bridge_of)
    (place,), (wrong,) = nics.seen(ctx)
    assert (place.nic, place.state) == ("eno1", "not in place")
    assert wrong.what == "eno1 is to be in br-ex, and is not"
    assert asked == ["facts", "to-br-ex-eno1"]


def test_a_move_that_was_begun_and_not_kept_is_found(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.of(ctx.cloud, "eno1")
    journal.path.parent.mkdir(parents=True)
    begun = Record("eno1", "br-eno1", TRYING)
    journal.write(begun)
    (found,) = said(ctx, IN_PLACE, monkeypatch)
    assert "refuse: a move of eno1 was begun" in found
    with sharing.alone("eno1"):
        (found,) = said(ctx, IN_PLACE, monkeypatch)
    assert "info: eno1 is being moved" in found
    (place,) = nics.places(ctx)
    assert (place.state, place.by) == ("attach begun, not kept", "br-eno1")
    journal.write(replace(begun, state=KEPT, manager="ifupdown"))
    assert said(ctx, IN_PLACE, monkeypatch) == []
    (place,) = nics.places(ctx)
    assert (place.state, place.manager) == ("in place", "ifupdown")
    assert place.addresses == ("192.0.2.5/24",)


def test_a_nic_that_no_answer_names_is_found(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nic attach` was killed when all had moved, and before it had written the answer."""
    for nic in ("eno1", "eno2"):
        journal = Journal.of(ctx.cloud, nic)
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        journal.write(Record(nic, f"br-{nic}", KEPT, manager="ifupdown"))
    other = {**BRIDGE, "ifname": "br-eno2"}
    known = replace(IN_PLACE, links=(*IN_PLACE.links, other, link("eno2", "br-eno2")))
    (found,) = said(ctx, known, monkeypatch)
    assert found.startswith("warn: eno2 is in br-eno2, and no answer") and "attach eno2" in found
    one, two = nics.places(ctx)
    assert (one.nic, one.state) == ("eno1", "in place")
    assert (two.nic, two.bridge, two.by, two.state) == ("eno2", "", "br-eno2", "not joined")
    assert two.finding
    with sharing.alone("eno2"):
        assert said(ctx, known, monkeypatch) == []


def test_nics_that_are_ports_themselves_are_nobody_elses(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for here, expected in (
        (facts(link("eno1")), ["eno1"]),
        (facts(link("eno1", "ovs-system", "openvswitch")), ["eno1"]),
        (facts(link("eno1"), eno1=ADDRESS), []),
        (IN_PLACE, []),
        (None, []),
    ):
        monkeypatch.setattr(nics, "known", lambda _, here=here: here)
        assert nics.ports(ctx) == expected


def test_a_port_of_the_switch_that_a_router_gave_an_address_stays_one(
    tmp_path: Path, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a switch in userspace the kernel sees the NIC's frames too."""
    six = {**ADDRESS, "family": "inet6", "local": "2001:db8::5", "prefixlen": 64}
    known = facts(link("eno1"), eno1=six)
    host = replace(machine(kernel=True), cloud_devices={"eno1": ("2001:db8::5/64",)})
    ctx = context_on(host, tmp_path, **GIVEN)
    monkeypatch.setattr(nics, "gather", lambda: known)
    monkeypatch.setattr(nics, "known", lambda _: known)
    monkeypatch.setattr(sysctl, "read", lambda _: "1")
    monkeypatch.setattr(networkd, "running", lambda _: False)
    assert [change.what for change in nics.ensure(ctx)][-1:] == ["note the wire to-br-ex-eno1"]
    ports["eno1"] = "br-ex"
    assert list(nics.ensure(ctx)) == []
    assert list(nics.before(ctx)) == [] and list(nics.after(ctx)) == []
    monkeypatch.setattr(sysctl, "read", lambda _: "0")
    (change,) = nics.ensure(ctx)
    assert "net/ipv6/conf/eno1/disable_ipv6 to 1 (was 0)" in change.what


@needs_root
def test_a_port_of_the_switch_gets_no_address_of_its_own(ctx: Context, tmp_path: Path) -> None:
    with networks.alone():
        subprocess.run(["ip", "link", "add", "eno1", "type", "veth"], check=True)
        for change in nics.ensure(ctx):
            change.do()
        assert sysctl.read(nics.quiet("eno1")) == "1" and list(nics.ensure(ctx)) == []
        assert list(nics.ensure_given_back(ctx)) == []
        without = {**GIVEN, "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": ""}
        for change in nics.ensure_given_back(context_on(machine(), tmp_path, **without)):
            change.do()
        assert sysctl.read(nics.quiet("eno1")) == "0" and Ledger.of(ctx.cloud).entries() == []


@pytest.mark.parametrize(
    ("nic", "bridge", "why"),
    [
        ("eno1", "br-b", "eno1 is in br-ex already"),
        ("eno2", "", "br-ex has the NIC eno1 already"),
        ("eno2", "br-none", "the cloud has no bridge br-none"),
    ],
)
def test_what_would_make_a_ring_is_refused(ctx: Context, nic: str, bridge: str, why: str) -> None:
    with pytest.raises(OnestackError, match=why):
        nics.target(ctx, nic, bridge)
    assert nics.target(ctx, "eno1", "") == "br-ex"
    assert nics.target(ctx, "eno2", "br-b") == "br-b"


def test_without_a_network_service_there_is_no_bridge(tmp_path: Path) -> None:
    ctx = context_on(machine(kernel=True), tmp_path, CONFIG_NEUTRON_INSTALL="n")
    with pytest.raises(OnestackError, match="no network service"):
        nics.target(ctx, "eno1", "")


def test_two_ways_into_one_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nics, "gather", lambda: facts(link("eno1"), eno1=ADDRESS))
    host = replace(machine(kernel=True), cloud_devices={"eno1": ("192.0.2.5/24",)})
    for address, refused in (("192.0.2.1/24", True), ("10.50.14.1/24", False)):
        given = {**GIVEN, "CONFIG_ONESTACK_EXTERNAL_ADDRESS": address}
        ctx = context_on(host, tmp_path, **given)
        assert bool(nics.overlapping(ctx, ("192.0.2.5/24",))) == refused
        if refused:
            with pytest.raises(OnestackError, match=r"192\.0\.2\.1/24"):
                nics.need_free(ctx, "eno1", "br-ex", Fit(Way.MOVE))
        else:
            nics.need_free(ctx, "eno1", "br-ex", Fit(Way.MOVE))
        # and at `up`, whether the NIC is to move or has moved
        for known in (facts(link("eno1"), eno1=ADDRESS), IN_PLACE):
            monkeypatch.setattr(nics, "known", lambda _, known=known: known)
            found = [f.what for f in nics.before(ctx) if f.severity is Severity.REFUSE]
            assert [address in what for what in found] == [True] * refused


def test_one_in_another_switch_is_refused_and_our_own_is_not(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = facts(link("eno1", "ovs-system", "openvswitch"), link("eno2"))
    monkeypatch.setattr(nics, "gather", lambda: known)
    nics.need_free(ctx, "eno1", "br-ex", Fit(Way.SWITCHED))
    with pytest.raises(OnestackError, match="eno2 is in a bridge of an Open vSwitch"):
        nics.need_free(ctx, "eno2", "br-b", Fit(Way.SWITCHED))


def test_severities_are_those_of_doctor(
    ctx: Context, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports.clear()
    monkeypatch.setattr(nics, "known", lambda _: IN_PLACE)
    assert [f.severity for f in nics.after(ctx)] == [Severity.REFUSE]


@needs_root
def test_rules_of_the_external_network_that_are_gone_are_told_of(tmp_path: Path) -> None:
    address = "172.24.4.1/24"
    ctx = context_on(machine(kernel=True), tmp_path, CONFIG_ONESTACK_EXTERNAL_ADDRESS=address)
    room = Openvswitch()

    def told() -> list[tuple[str, str]]:
        return [(each.why, each.cure) for each in room.health_checks(ctx)]

    with networks.alone():
        gone = "gone from the packet filter: {}; other rules were loaded in the place of all"
        table = "onestack"
        # no rules at all are what they are as well
        both = f"table inet {table}, table arp {table}"
        assert told() == [(gone.format(both), "onestack up")]
        rules = external.filters(table, "br-ex", [address])
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        assert told() == []
        subprocess.run(["nft", "delete", "table", "arp", table], check=True)
        place = ctx.cloud.etc / "openvswitch"
        place.mkdir(parents=True)
        (place / "external-bridge.nft").touch()
        cure = "onestack restart openvswitch/external-bridge"
        assert told() == [(gone.format(f"table arp {table}"), cure)]
