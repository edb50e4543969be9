"""What ovs-vsctl and ovn-nbctl print becomes rows, and rows a switch."""

from __future__ import annotations

import pytest

from onestack.network.picture import ovn, switch, tables
from onestack.network.picture.model import Plug
from tests.unit.network.picture import guides


def test_all_tables_are_asked_for_in_one_call() -> None:
    words = tables.words(switch.QUESTIONS)
    assert words[:2] == ("--timeout=10", "--format=json")
    assert words.count("list") == words.count("--") == len(switch.QUESTIONS)
    assert words[2:6] == ("--", "--columns=name,ports,fail_mode,controller", "list", "Bridge")
    # Of logical ports those to the outside alone: servers' are many.
    wanted = ("--columns=_uuid,name", "find", "Logical_Switch_Port", "type=localnet")
    assert " ".join(wanted) in " ".join(tables.words(ovn.NORTHBOUND))


def test_notation() -> None:
    assert tables.plain(["uuid", "a"]) == "a"
    assert tables.plain(["set", []]) == []
    assert tables.plain(["set", [["uuid", "a"], ["uuid", "b"]]]) == ["a", "b"]
    assert tables.plain(["map", [["peer", "x"]]]) == {"peer": "x"}
    assert tables.one([]) is None and tables.one(2) == 2 and tables.several("a") == ["a"]


@pytest.mark.parametrize(
    "text",
    ["", '{"data":[],"headings":[]}', '{"data":[],"headings":[]}\nnonsense', "{}\n{}"],
)
def test_what_is_no_answer_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        tables.read(text, switch.QUESTIONS[:2])


def test_the_switch_of_the_agents() -> None:
    found = switch.switch(
        tables.read(guides.said("openvswitch.ovs-vsctl"), switch.QUESTIONS),
    )
    assert set(found.bridges) == {"br-int", "br-ex", "br-tun"}
    middle = found.bridges["br-int"]
    assert (middle.fail_mode, middle.controller) == ("secure", "tcp:127.77.0.1:6633")
    assert middle.connected is True
    plugs = found.plugs()
    # A router's leg on br-ex has its port's id elsewhere than all others.
    assert plugs[guides.GATEWAY] == Plug("qg-244e25b0-ea", "br-ex")
    assert plugs[guides.INTERFACE] == Plug("qr-d698c4e6-e3", "br-int", 2)
    assert plugs[guides.PORT_ONE] == Plug("qvo07733fc0-3d", "br-int", 2)
    patch = found.named("phy-br-ex")
    assert patch and (patch.bridge, patch.kind, patch.peer) == ("br-ex", "patch", "int-br-ex")


def test_what_vanished_between_two_tables_is_left_out() -> None:
    asked = tables.read(guides.said("openvswitch.ovs-vsctl"), switch.QUESTIONS)
    asked["Port"] = [row for row in asked["Port"] if row["name"] != "qr-d698c4e6-e3"]
    asked["Interface"] = [row for row in asked["Interface"] if row["name"] != "qvo07733fc0-3d"]
    asked["Controller"] = []
    found = switch.switch(asked)
    assert not {guides.INTERFACE, guides.PORT_ONE} & set(found.plugs())
    assert guides.PORT_TWO in found.plugs()
    assert found.bridges["br-int"].connected is None


def test_an_empty_switch() -> None:
    found = switch.switch({question.table: [] for question in switch.QUESTIONS})
    assert (found.bridges, list(found.interfaces)) == ({}, [])


def test_ovn() -> None:
    found = ovn.ovn(
        tables.read(guides.said("ovn.ovn-nbctl"), ovn.NORTHBOUND),
        tables.read(guides.said("ovn.ovn-sbctl"), ovn.SOUTHBOUND),
    )
    assert found.switches == {
        f"neutron-{guides.EXT}": guides.PROVNET,
        f"neutron-{guides.INT}": "",
    }
    assert found.routers == {f"neutron-{guides.ROUTER}"}
    assert found.scheduled == {
        f"lrp-{guides.GATEWAY}": True,
        f"lrp-{guides.INTERFACE}": False,
    }
    assert found.places[f"cr-lrp-{guides.GATEWAY}"] == guides.HOST
    assert found.options[guides.SUB_INT]["router"] == "192.168.10.1"
    assert found.hosts == {guides.HOST}
