"""A network of guests in neutron, with a neutron that lives here."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from onestack.cloudapi import guest_network
from onestack.cloudapi.guest_network import GuestNetwork
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Port
from onestack.model.errors import NotYet, OnestackError
from tests.unit.components.rooms import context

Item = dict[str, Any]
OWNER = "of-service"
WANTED = GuestNetwork(
    name="toy-mgmt",
    subnet=IPv4Network("198.18.8.0/22"),
    address=IPv4Address("198.18.8.1"),
    mac="fa:16:3e:00:00:01",
    host="here",
    reached=(Port("tcp", 5671), Port("udp", 5555)),
    answered=(Port("tcp", 9443),),
)


class Neutron:
    """As much of neutron as is asked. A new group lets all out, and a port may fail to bind."""

    def __init__(self) -> None:
        self.held: dict[str, list[Item]] = {}
        self.numbers = itertools.count(1)
        self.agent_alive = True

    def all(self, kind: str, **query: str) -> list[Item]:
        return [
            item
            for item in self.held.get(kind, [])
            if all(item.get(name) == value for name, value in query.items())
        ]

    def find(self, kind: str, **query: str) -> Item | None:
        return next(iter(self.all(kind, **query)), None)

    def needed(self, kind: str, name: str, **query: str) -> Item:
        found = self.find(kind, name=name, **query)
        assert found
        return found

    def make(self, kind: str, **body: Any) -> None:
        item = {"id": f"{kind}-{next(self.numbers)}", **body}
        if kind == "network":
            item["mtu"] = 1442
        if kind == "security-group":
            item["security_group_rules"] = []
            for ethertype in ("IPv4", "IPv6"):
                self._rule(item, direction="egress", ethertype=ethertype)
        if kind == "security-group-rule":
            self._rule(self._by_id("security-group", body["security_group_id"]), **body)
            return
        if kind == "port":
            item["binding:vif_type"] = "ovs" if self.agent_alive else "binding_failed"
        self.held.setdefault(kind, []).append(item)

    def _rule(self, group: Item, **body: Any) -> None:
        rule = dict.fromkeys(guest_network._RULE) | body | {"id": f"rule-{next(self.numbers)}"}
        alike = [guest_network._present({"security_group_rules": [rule]})]
        assert alike[0].isdisjoint(guest_network._present(group)), "neutron refuses one twice"
        group["security_group_rules"].append(rule)

    def _by_id(self, kind: str, identity: str) -> Item:
        return next(item for item in self.held[kind] if item["id"] == identity)

    def put(self, path: str, body: Item) -> None:
        kind, identity = path.split("/")
        port = self._by_id(kind.removesuffix("s"), identity)
        port.update(body["port"])
        bound = port["binding:host_id"] and self.agent_alive
        port["binding:vif_type"] = "ovs" if bound else "unbound"

    def delete(self, kind: str, identity: str) -> None:
        if kind == "security-group-rule":
            for group in self.held["security-group"]:
                rules = group["security_group_rules"]
                group["security_group_rules"] = [r for r in rules if r["id"] != identity]
            return
        if kind == "security-group":
            used = [p for p in self.all("port") if identity in p["security_groups"]]
            assert not used, "neutron refuses: in use"
        if kind == "subnet":
            used = [p for p in self.all("port") if p["fixed_ips"][0]["subnet_id"] == identity]
            assert not used, "neutron refuses: in use"
        if kind == "network":
            assert not self.all("port", network_id=identity), "neutron refuses: in use"
            self.held["subnet"] = [
                s for s in self.held.get("subnet", []) if s["network_id"] != identity
            ]
        self.held[kind] = [item for item in self.held[kind] if item["id"] != identity]

    def guest(self) -> None:
        network, subnet = self.held["network"][0], self.held["subnet"][0]
        self.make(
            "port",
            name="",
            network_id=network["id"],
            fixed_ips=[{"subnet_id": subnet["id"]}],
            security_groups=[],
            device_owner="compute:nova",
            device_id="server-1",
        )


class Nova:
    def __init__(self, neutron: Neutron) -> None:
        self.neutron = neutron
        self.removed: list[str] = []

    def remove_server(self, identity: str) -> None:
        self.removed.append(identity)
        for port in self.neutron.all("port", device_id=identity):
            self.neutron.delete("port", port["id"])

    def server(self, identity: str) -> Item | None:
        return None if identity in self.removed else {"id": identity}


@pytest.fixture
def neutron(monkeypatch: pytest.MonkeyPatch) -> Neutron:
    made = Neutron()
    monkeypatch.setattr(guest_network, "neutron_of", lambda ctx: made)
    monkeypatch.setattr(guest_network, "service_project", lambda ctx: OWNER)
    return made


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context(tmp_path)


def apply(changes: Iterator[Change]) -> list[str]:
    said = []
    for change in changes:
        said.append(change.what)
        change.do()
    return said


def test_it_is_made_once(ctx: Context, neutron: Neutron) -> None:
    with pytest.raises(NotYet):
        guest_network.known(ctx, WANTED)
    assert apply(guest_network.ensure(ctx, WANTED)) == [
        "make the network toy-mgmt",
        "make the subnet 198.18.8.0/22 of toy-mgmt",
        "make the security group toy-mgmt",
        "make the security group toy-mgmt-host",
        "make this host's port in toy-mgmt",
    ]
    assert apply(guest_network.ensure(ctx, WANTED)) == []
    found = guest_network.known(ctx, WANTED)
    assert (found.mtu, found.group) == (1442, neutron.needed("security-group", "toy-mgmt")["id"])
    assert {item["project_id"] for kind in neutron.held.values() for item in kind} == {OWNER}


def test_there_is_no_way_out_and_no_name_server(ctx: Context, neutron: Neutron) -> None:
    apply(guest_network.ensure(ctx, WANTED))
    (subnet,) = neutron.held["subnet"]
    assert subnet["gateway_ip"] is None
    assert subnet["dns_nameservers"] == ["0.0.0.0"]
    # this host's address is given to no guest
    assert subnet["allocation_pools"] == [{"start": "198.18.8.2", "end": "198.18.11.254"}]


def test_guests_may_what_they_need(ctx: Context, neutron: Neutron) -> None:
    """A new group's own rules, which let guests go anywhere, are gone."""
    apply(guest_network.ensure(ctx, WANTED))

    def rules(name: str) -> set[tuple[Any, ...]]:
        group = neutron.needed("security-group", name)
        return {
            (rule["direction"], rule["protocol"], rule["port_range_min"], rule["remote_ip_prefix"])
            for rule in group["security_group_rules"]
        }

    assert rules("toy-mgmt") == {
        ("egress", "tcp", 5671, "198.18.8.1/32"),
        ("egress", "udp", 5555, "198.18.8.1/32"),
        ("egress", "udp", 67, "255.255.255.255/32"),
        ("egress", "udp", 67, "198.18.8.0/22"),
        ("ingress", "tcp", 9443, "198.18.8.1/32"),
    }
    assert rules("toy-mgmt-host") == {
        ("ingress", "tcp", 5671, "198.18.8.0/22"),
        ("ingress", "udp", 5555, "198.18.8.0/22"),
        ("egress", "tcp", 9443, "198.18.8.0/22"),
    }


def test_rules_that_somebody_changed_are_set_again(ctx: Context, neutron: Neutron) -> None:
    apply(guest_network.ensure(ctx, WANTED))
    group = neutron.needed("security-group", "toy-mgmt")
    neutron.delete("security-group-rule", group["security_group_rules"][0]["id"])
    neutron._rule(group, direction="egress", ethertype="IPv4")
    assert apply(guest_network.ensure(ctx, WANTED)) == ["set the security group toy-mgmt"]
    assert apply(guest_network.ensure(ctx, WANTED)) == []


def test_a_run_that_was_killed_is_gone_on_with(ctx: Context, neutron: Neutron) -> None:
    steps = len(list(guest_network.ensure(ctx, WANTED)))
    for _ in range(steps):
        next(guest_network.ensure(ctx, WANTED)).do()
    assert apply(guest_network.ensure(ctx, WANTED)) == []


def test_a_port_that_could_not_be_bound_is_bound_later(ctx: Context, neutron: Neutron) -> None:
    neutron.agent_alive = False
    apply(guest_network.ensure(ctx, WANTED))
    neutron.agent_alive = True
    assert apply(guest_network.ensure(ctx, WANTED)) == ["bind the port of toy-mgmt to here"]
    assert apply(guest_network.ensure(ctx, WANTED)) == []


def test_another_subnet_only_without_guests(ctx: Context, neutron: Neutron) -> None:
    apply(guest_network.ensure(ctx, WANTED))
    other = dataclasses.replace(
        WANTED, subnet=IPv4Network("10.9.0.0/24"), address=IPv4Address("10.9.0.1")
    )
    neutron.guest()
    with pytest.raises(OnestackError, match=r"cannot become 10\.9\.0\.0/24") as caught:
        apply(guest_network.ensure(ctx, other))
    assert "go back to 198.18.8.0/22" in caught.value.cure
    neutron.delete("port", neutron.all("port", device_owner="compute:nova")[0]["id"])
    assert apply(guest_network.ensure(ctx, other)) == [
        "remove the subnet 198.18.8.0/22 of toy-mgmt",
        "make the subnet 10.9.0.0/24 of toy-mgmt",
        "set the security group toy-mgmt",
        "set the security group toy-mgmt-host",
        "make this host's port in toy-mgmt",
    ]
    assert apply(guest_network.ensure(ctx, other)) == []


def test_purged_it_is_gone_with_all_in_it(
    ctx: Context, neutron: Neutron, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(guest_network.ensure(ctx, WANTED))
    neutron.guest()
    nova = Nova(neutron)
    monkeypatch.setattr(guest_network, "compute_of", lambda ctx: nova)
    monkeypatch.setattr(Context, "offers", lambda self, capability: True)
    assert apply(guest_network.remove(ctx, WANTED.name)) == [
        "remove all servers in the network toy-mgmt (1)",
        "remove the network toy-mgmt",
        "remove the security group toy-mgmt",
        "remove the security group toy-mgmt-host",
    ]
    assert nova.removed == ["server-1"]
    assert not any(neutron.held.values())
    assert apply(guest_network.remove(ctx, WANTED.name)) == []
