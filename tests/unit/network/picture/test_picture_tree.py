"""The lines that people read."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onestack.model.errors import BadAnswers
from onestack.model.findings import refuse
from onestack.network.picture import choice, tree
from onestack.network.picture.gathered import Gathered
from onestack.network.picture.model import Picture
from onestack.network.picture.switch import Interface
from tests.unit.network.picture import guides
from tests.unit.network.picture.guides import EXT, INT, ROUTER, gathered, picture

EXPECTED = Path(__file__).with_name("expected")


def text(found: Picture) -> str:
    return "\n".join(tree.lines(found)) + "\n"


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_the_guides_cloud(layout: str) -> None:
    assert text(picture(layout)) == (EXPECTED / f"{layout}.txt").read_text()


def test_what_the_notes_look_for_is_there() -> None:
    """Each word of `ip netns` and of the ports in `ovs-vsctl show`."""
    shown = text(picture("openvswitch"))
    for word in (
        *(f"qdhcp-{EXT}", f"qdhcp-{INT}", f"qrouter-{ROUTER}", "br-int", "br-tun", "br-ex"),
        *("qg-244e25b0-ea", "qr-d698c4e6-e3", "tapb3289e96-42", "tap2e5be949-d4", "eno1"),
        *("qvo07733fc0-3d", "patch-tun", "patch-int", "int-br-ex", "phy-br-ex", "tag 2"),
        *("10.50.14.51", "10.50.14.56", "192.168.10.1", "tcp:127.77.0.1:6633", "secure"),
    ):
        assert word in shown, word


def about(found: Picture, word: str) -> str:
    chosen = choice.choose(found, word)
    wrong = choice.narrowed(found, chosen).wrong
    return "\n".join(tree.lines_about(found, chosen, wrong)) + "\n"


@pytest.mark.parametrize("word", ["router1", ROUTER, f"qrouter-{ROUTER}"])
def test_one_router(word: str) -> None:
    shown = about(picture("openvswitch"), word)
    assert shown.startswith(f"router1  router, qrouter-{ROUTER}\n")
    assert "outside   net-ext 10.50.14.56 at qg-244e25b0-ea in br-ex" in shown
    assert "└─ net-int" in shown and "one  server" in shown
    assert "br-tun" not in shown


@pytest.mark.parametrize("word", ["net-int", INT, f"qdhcp-{INT}", f"neutron-{INT}"])
def test_one_network(word: str) -> None:
    shown = about(picture("openvswitch"), word)
    assert shown.startswith("net-int  network, local, shared, tag 2 in br-int\n")
    assert "router    router1 192.168.10.1 at qr-d698c4e6-e3" in shown
    assert "net-ext" not in shown


def test_one_that_is_not_there() -> None:
    with pytest.raises(BadAnswers, match="no network and no router 'net-itn'") as refused:
        choice.choose(picture("openvswitch"), "net-itn")
    assert refused.value.exit_code == 2 and "net-int" in refused.value.cure


def test_several_of_one_name() -> None:
    twice = [*guides.answers("openvswitch")["network"], guides.network("n3", "net-int")]
    found = picture("openvswitch", gathered("openvswitch", networks=twice))
    assert [each.id for each in choice.choose(found, "net-int")] == [INT, "n3"]
    assert about(found, "net-int").count("net-int  network") == 2


def test_what_is_wrong_elsewhere_is_not_told_of_one() -> None:
    lost = gathered("openvswitch", namespaces=frozenset({f"qdhcp-{EXT}", f"qrouter-{ROUTER}"}))
    found = picture("openvswitch", replace(lost, silent=(refuse("nova does not tell"),)))
    for word, those in (
        ("net-int", {INT, ""}),
        ("router1", {INT, ""}),
        ("net-ext", {""}),
    ):
        narrow = choice.narrowed(found, choice.choose(found, word))
        assert {each.about for each in narrow.wrong} == those


def test_a_network_of_two_routers_stands_once() -> None:
    second = {**guides.answers("openvswitch")["router"][0], "id": "r2", "routes": []}
    second["name"] = "router2"
    leg = guides.port("p9", INT, "network:router_interface", "r2", "192.168.10.2")
    given = gathered("openvswitch", namespaces=frozenset({*_spaces(), "qrouter-r2"}))
    given = replace(given, routers=[*given.routers, second], ports=[*given.ports, leg])
    shown = text(picture("openvswitch", given))
    assert shown.count("net-int  network, local") == 1
    # One without a gateway is behind no bridge.
    assert "\nrouter2  router, qrouter-r2\n└─ net-int  network, shown above\n" in shown
    assert "router    router2 192.168.10.2 at qr-p9, which is missing  !" in shown


def test_what_leads_outside_by_no_bridge_stands_as_well() -> None:
    """The router behind its external network, then networks without a router."""
    physical = {"provider:physical_network": "lab"}
    networks = [{**each} for each in guides.answers("openvswitch")["network"]]
    networks[0] |= physical
    given = gathered("openvswitch", networks=[*networks, guides.network("n0", "alone")])
    shown = text(picture("openvswitch", given))
    roots = [line.split("  ")[0] for line in shown.splitlines() if line[:1].isalpha()]
    assert roots[1:6] == ["br-ex", "net-ext", "alone", "br-int", "br-tun"]
    assert "└─ router1  router" in shown and "shown above" not in shown


def _spaces() -> frozenset[str]:
    return gathered("openvswitch").namespaces


def test_what_is_wrong_is_marked_and_told_once_for_one_cause() -> None:
    given = gathered("openvswitch", namespaces=frozenset())
    shown = text(picture("openvswitch", given, {"neutron-dhcp-agent": "exited with code 1"}))
    assert "net-int  network, local, shared, tag 2 in br-int  !\n" in shown
    assert (
        shown.split("Not as it should be:\n")[1]
        == f"""\
  - the namespace qdhcp-{EXT} of net-ext is missing
  - the namespace qdhcp-{INT} of net-int is missing
      neutron-dhcp-agent: exited with code 1
      cure: onestack logs neutron-dhcp-agent tells why; then onestack restart neutron-dhcp-agent
  - the namespace qrouter-{ROUTER} of the router router1 is missing
      neutron-l3-agent does that, and is ready: it has not got to it yet, or failed
      cure: look again in a moment; if it stays so: onestack restart neutron-l3-agent
"""
    )


def test_many_of_one_cause_are_not_all_told() -> None:
    given = hundred()
    given = replace(given, namespaces=frozenset({f"qrouter-{ROUTER}"}))
    found = picture("openvswitch", given)
    shown = text(found)
    assert len(found.wrong) == 102
    assert shown.count(" is missing\n") == tree.SHOWN
    assert "  - … and 94 more for the same reason: --json has them\n" in shown


def test_names_that_people_give() -> None:
    """They move no cursor, are cut, and take the columns that a terminal gives them."""
    names = {guides.ONE: "\x1b[31m赤い\nサーバー", guides.TWO: "x" * 200}
    shown = text(picture("openvswitch", gathered("openvswitch", servers=names)))
    assert "\x1b" not in shown and "?[31m赤い?サーバー" in shown
    assert "x" * 39 + "…" in shown and "x" * 40 not in shown
    rows = [line for line in shown.splitlines() if "192.168.10.3" in line and "server" in line]
    columns = {tree.wide(row[: row.index("server")]) for row in rows}
    assert len(rows) == 2 and len(columns) == 1
    assert tree.wide("赤い") == 4 and tree.wide("e\u0301") == 1


def test_amphorae_and_what_else_hangs_there() -> None:
    pairs = [{"ip_address": "192.168.10.40", "mac_address": "fa:16:3e:aa:31:c7"}]
    server = f"amphora-{guides.TWO}"
    more = [
        guides.port("t1", INT, "trunk:subport", "trunk", "192.168.10.45", name="sub"),
        guides.port("t2", INT, "", "", "192.168.10.46", name="spare", **guides.UNBOUND),
    ]
    ports = [
        {**each, "allowed_address_pairs": pairs} if each["id"] == guides.PORT_TWO else each
        for each in guides.answers("openvswitch")["port"]
    ]
    names = {guides.ONE: "one", guides.TWO: server}
    given = gathered("openvswitch", ports=[*ports, *more], servers=names)
    shown = text(picture("openvswitch", given))
    assert f"{tree.name(server)} of web  server " in shown
    assert "sub " in shown and " trunk:subport  192.168.10.45\n" in shown
    (spare,) = (line for line in shown.splitlines() if "spare" in line)
    assert " port " in spare and "DOWN" not in spare


def test_a_network_without_a_name_has_its_id() -> None:
    nameless = [guides.network(INT, "")]
    shown = text(picture("openvswitch", gathered("openvswitch", networks=nameless)))
    assert f"─ {INT}  network, local" in shown


def test_what_hangs_in_the_switch_beside_neutron() -> None:
    asked = gathered("openvswitch")
    assert asked.switch
    more = [
        Interface("vxlan-0a000002", "br-tun", "vxlan", remote="10.0.0.2"),
        Interface("probe0", "br-int", "internal"),
    ]
    switch = replace(asked.switch, interfaces=[*asked.switch.interfaces, *more])
    shown = text(picture("openvswitch", replace(asked, switch=switch)))
    assert "tunnel    vxlan-0a000002 (vxlan) to 10.0.0.2" in shown
    assert "other     probe0: no port of neutron's" in shown


def hundred() -> Gathered:
    """Networks, each with a subnet, a router's leg, a DHCP server and two servers."""
    asked = gathered("openvswitch")
    assert asked.switch
    networks: list[dict[str, Any]] = []
    subnets: list[dict[str, Any]] = []
    ports: list[dict[str, Any]] = []
    plugs: list[Interface] = []
    servers: dict[str, str] = {}
    for number in range(100):
        net = f"{number:08x}-net"
        networks.append(guides.network(net, f"net-{number:03}"))
        cidr = f"10.{number}.0.0/24"
        subnets.append(guides.subnet(f"{net}-sub", net, f"sub-{number:03}", cidr, ""))
        owners = ("network:router_interface", "network:dhcp", "compute:nova", "compute:nova")
        for place, owner in enumerate(owners):
            identity = f"{number:06x}{place:02x}-port"
            device = ROUTER if place == 0 else f"server-{identity}"
            address = f"10.{number}.0.{place + 1}"
            ports.append(guides.port(identity, net, owner, device, address))
            plugs.append(Interface(f"tap{identity}"[:14], "br-int", "", number, port=identity))
            servers[device] = f"vm-{identity}"
    return replace(
        asked,
        networks=[*asked.networks, *networks],
        subnets=[*asked.subnets, *subnets],
        ports=[*asked.ports, *ports],
        servers={**(asked.servers or {}), **servers},
        switch=replace(asked.switch, interfaces=[*asked.switch.interfaces, *plugs]),
        namespaces=asked.namespaces | {f"qdhcp-{each['id']}" for each in networks},
    )


def test_a_hundred_networks() -> None:
    given = hundred()
    began = time.process_time()
    found = picture("openvswitch", given)
    shown = text(found).splitlines()
    assert time.process_time() - began < 1.0
    assert found.well
    for number in range(100):
        (place,) = (i for i, line in enumerate(shown) if f"─ net-{number:03}  network" in line)
        # its lines, and both of its servers
        assert sum(f"10.{number}.0." in line for line in shown[place : place + 7]) == 5
    assert max(map(tree.wide, shown)) <= tree.WIDTH
