"""From what was gathered to names, devices and namespaces, in both layouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onestack.network.picture.drawing import draw
from onestack.network.picture.model import Kind, Nic, Patch, Picture, Port
from tests.unit.network.picture import guides
from tests.unit.network.picture.guides import EXT, INT, ROUTER, gathered, picture, setting


def port(found: Picture, identity: str) -> Port:
    return next(p for n in found.networks for p in n.ports if p.id == identity)


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_names_and_addresses(layout: str) -> None:
    found = picture(layout)
    inside, outside = found.network(INT), found.network(EXT)
    assert inside and outside
    assert (outside.bridge, inside.bridge) == ("br-ex", "")
    assert outside.unused == ("10.50.14.52",)
    servers = [each for each in inside.ports if each.kind is Kind.SERVER]
    assert [(s.name, s.addresses, s.floating) for s in servers] == [
        ("one", ("192.168.10.30",), ("10.50.14.57",)),
        ("two", ("192.168.10.31",), ()),
    ]
    (balancer,) = (each for each in inside.ports if each.kind is Kind.BALANCER)
    assert (balancer.name, balancer.status) == ("web", "")
    # What only keeps a floating address is told of with what has it.
    assert all(each.owner != "network:floatingip" for each in outside.ports)
    (router,) = found.routers
    assert [leg.addresses for leg in (*router.gateways, *router.interfaces)] == [
        ("10.50.14.56",),
        ("192.168.10.1",),
    ]
    assert router.routes == (("10.9.0.0/16", "192.168.10.30"),)
    (forwarding,) = router.forwardings
    assert (forwarding.outside, forwarding.inside) == ("10.50.14.53:2222", "192.168.10.31:22")


def test_devices_and_namespaces_of_the_agents() -> None:
    found = picture("openvswitch")
    seats = {
        guides.GATEWAY: ("qg-244e25b0-ea", "br-ex", None, f"qrouter-{ROUTER}"),
        guides.INTERFACE: ("qr-d698c4e6-e3", "br-int", 2, f"qrouter-{ROUTER}"),
        guides.DHCP_EXT: ("tapb3289e96-42", "br-int", 1, f"qdhcp-{EXT}"),
        guides.DHCP_INT: ("tap2e5be949-d4", "br-int", 2, f"qdhcp-{INT}"),
        guides.PORT_ONE: ("qvo07733fc0-3d", "br-int", 2, ""),
    }
    for identity, seat in seats.items():
        each = port(found, identity)
        assert each.plug
        assert (each.plug.device, each.plug.bridge, each.plug.tag, each.namespace) == seat
        # As it is called by the rules, too: that is what is missed where it is missing.
        assert each.device == each.plug.device
    assert found.routers[0].place == f"qrouter-{ROUTER}"
    assert [n.tag for n in found.networks] == [1, 2]


def test_logical_places_in_ovn() -> None:
    found = picture("ovn")
    gateway = port(found, guides.GATEWAY)
    assert (gateway.logical, gateway.host) == (f"lrp-{guides.GATEWAY}", guides.HOST)
    assert found.routers[0].place == f"neutron-{ROUTER}"
    network = found.network(EXT)
    assert network and (network.switch, network.localnet) == (f"neutron-{EXT}", guides.PROVNET)
    assert network.subnets[0].options and network.subnets[0].options["router"] == "10.50.14.1"
    metadata = port(found, guides.DHCP_INT)
    assert (metadata.kind, metadata.namespace) == (Kind.METADATA, f"ovnmeta-{INT}")
    assert metadata.plug and metadata.plug.device == metadata.device == "tap86eaac28-60"
    one = port(found, guides.PORT_ONE)
    assert one.plug and one.plug.device == one.device == "tap07733fc0-3d"


def test_bridges() -> None:
    found = picture("openvswitch")
    assert [(b.name, b.role) for b in found.bridges] == [
        ("br-ex", "outside"),
        ("br-int", "integration"),
        ("br-tun", "tunnels"),
    ]
    outside = found.bridge("br-ex")
    assert outside and outside.physical == ("extnet",)
    assert outside.patches == (Patch("phy-br-ex", "int-br-ex", "br-int"),)
    assert outside.nics == tuple(guides.NICS["br-ex"]) and outside.others == ()


def test_a_nic_that_somebody_added_by_hand_is_one() -> None:
    """As the notes have it, and `ovs-vsctl add-port br-ex eno1`."""
    given = gathered("openvswitch", addresses={"to-br-ex-eno1": ["10.0.0.9/24"]})
    outside = draw(setting("openvswitch"), given, {}).bridge("br-ex")
    assert outside and outside.nics == (
        Nic("to-br-ex-eno1", "", "to-br-ex-eno1", ("10.0.0.9/24",)),
    )


def test_what_belongs_to_nothing_is_told() -> None:
    gone = [each for each in guides.answers("openvswitch")["port"] if each["id"] != guides.PORT_TWO]
    middle = picture("openvswitch", gathered("openvswitch", ports=gone)).bridge("br-int")
    assert middle and middle.others == ("qvo5c81b2ae-91",)


def test_networks_lead_out_by_their_physical_network() -> None:
    given = gathered("openvswitch")
    flat: dict[str, Any] = {"provider:network_type": "flat", "provider:physical_network": "b"}
    more = [*given.networks, guides.network("n3", "lab", **flat)]
    given = replace(given, networks=more)
    found = picture("openvswitch", given, mappings={"extnet": "br-ex", "b": "br-b"})
    lab = found.network("n3")
    assert lab and lab.bridge == "br-b"
    bridge = found.bridge("br-b")
    assert bridge and not bridge.there and bridge.role == "outside"
    # An external one of no physical network: its routers' legs are in br-ex.
    outside = found.network(EXT)
    assert outside and (outside.physical, outside.bridge) == ("", "br-ex")


def test_an_external_network_that_is_tunnelled_is_in_no_bridge() -> None:
    found = picture("ovn", guides.pinned()).network(EXT)
    assert found and (found.kind, found.bridge, found.localnet) == ("geneve", "", "")


def test_what_is_told_of_only_half_is_drawn_all_the_same() -> None:
    """Between two questions somebody may delete what the first answer named, or make more."""
    given = gathered("openvswitch", networks=[], routers=[], servers={})
    assert picture("openvswitch", given).networks == ()
    given = gathered("openvswitch", networks=guides.answers("openvswitch")["network"], subnets=[])
    given = replace(given, routers=[], servers=None, floating=[])
    found = picture("openvswitch", given)
    assert port(found, guides.PORT_ONE).name == guides.ONE
    assert port(found, guides.GATEWAY).name == ROUTER
    assert found.routers == ()


def test_as_json() -> None:
    found = guides.plain(picture("openvswitch"))
    assert found["well"] is True and found["findings"] == [] and "wrong" not in found
    (one,) = (p for n in found["networks"] for p in n["ports"] if p["name"] == "one")
    assert one["kind"] == "server" and one["plug"]["device"] == "qvo07733fc0-3d"
    assert found["routers"][0]["gateways"][0]["addresses"] == ["10.50.14.56"]
