"""What is found wrong, with cause and cure, and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onestack.network.picture import tree
from onestack.network.picture.model import Picture
from onestack.network.picture.ovn import Ovn
from onestack.network.picture.switch import Interface
from tests.unit.network.picture import guides
from tests.unit.network.picture.guides import EXT, INT, ROUTER, gathered, picture, without

DEAD = {"neutron-l3-agent": "failed 3 times; last: exit code 1"}


def said(found: Picture) -> list[str]:
    return [each.finding.what for each in found.wrong]


def only(found: Picture) -> tuple[str, str, str, str]:
    (wrong,) = found.wrong
    return wrong.about, wrong.finding.what, wrong.finding.why, wrong.finding.cure


def ports(layout: str, identity: str, **changed: Any) -> list[dict[str, Any]]:
    found = guides.answers(layout)["port"]
    assert any(each["id"] == identity for each in found)
    return [{**each, **changed} if each["id"] == identity else each for each in found]


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_nothing_is_wrong_with_the_guides_cloud(layout: str) -> None:
    """Also not a balancer's address, OVN's metadata port and unused floating addresses: DOWN."""
    assert said(picture(layout)) == []
    assert picture(layout).well


def test_a_port_that_is_down() -> None:
    given = gathered("openvswitch", ports=ports("openvswitch", guides.INTERFACE, status="DOWN"))
    about, what, why, cure = only(picture("openvswitch", given))
    assert about == guides.INTERFACE
    assert what == "neutron says that the port of the router router1 in net-int is DOWN"
    assert "has not got to it yet" in why
    assert cure.endswith("onestack restart neutron-openvswitch-agent")


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
@pytest.mark.parametrize(
    ("active", "wrong"), [(frozenset({guides.TWO}), True), (frozenset(), False)]
)
def test_a_servers_port_is_to_work_while_the_server_runs(
    layout: str, active: frozenset[str], wrong: bool
) -> None:
    gone = without(layout, "Interface", lambda row: row["name"].endswith("5c81b2ae-91"))
    given = gathered(layout, ports=ports(layout, guides.PORT_TWO, status="DOWN"), active=active)
    for switch in (given.switch, gone):
        found = picture(layout, replace(given, switch=switch))
        assert bool(said(found)) is wrong
    if wrong:
        device = "qvo5c81b2ae-91" if layout == "openvswitch" else "tap5c81b2ae-91"
        assert said(found) == [
            f"{device} is missing in the switch for the port of the server two in net-int"
        ]
        assert found.wrong[0].finding.cure.endswith(f"openstack server reboot --hard {guides.TWO}")


def test_a_server_that_is_off_may_be_without_its_device() -> None:
    """Neutron says ACTIVE for a while, or for ever where nobody has told it otherwise."""
    gone = without("openvswitch", "Interface", lambda row: row["name"] == "qvo5c81b2ae-91")
    given = gathered("openvswitch", switch=gone, active=frozenset({guides.ONE}))
    assert said(picture("openvswitch", given)) == []
    given = replace(given, active=frozenset({guides.ONE, guides.TWO}))
    assert only(picture("openvswitch", given))[0] == guides.PORT_TWO


def test_a_port_that_is_switched_off_or_elsewhere_is_nothing_wrong() -> None:
    gone = without("openvswitch", "Interface", lambda row: row["name"] == "qvo5c81b2ae-91")
    off = ports("openvswitch", guides.PORT_TWO, admin_state_up=False, status="DOWN")
    far = ports("openvswitch", guides.PORT_TWO, **{"binding:host_id": "other"})
    for each in (off, far):
        given = gathered("openvswitch", ports=each, switch=gone, active=frozenset({guides.TWO}))
        assert said(picture("openvswitch", given)) == []


def test_a_device_that_is_missing() -> None:
    gone = without("openvswitch", "Interface", lambda row: row["name"] == "qg-244e25b0-ea")
    found = picture("openvswitch", gathered("openvswitch", switch=gone), DEAD)
    about, what, why, cure = only(found)
    assert about == guides.GATEWAY
    assert what == (
        "qg-244e25b0-ea is missing in the switch for the port of the router router1 in net-ext"
    )
    assert why == "neutron-l3-agent: failed 3 times; last: exit code 1"
    assert cure.startswith("onestack logs neutron-l3-agent tells why")


def test_a_device_that_does_not_work() -> None:
    asked = gathered("openvswitch")
    assert asked.switch
    text = "could not open network device tap2e5be949-d4 (No such device)"
    interfaces = [
        replace(each, error=text) if each.name == "tap2e5be949-d4" else each
        for each in asked.switch.interfaces
    ]
    given = replace(asked, switch=replace(asked.switch, interfaces=interfaces))
    about, what, _, cure = only(picture("openvswitch", given))
    assert about == guides.DHCP_INT
    assert what == f"tap2e5be949-d4 of the DHCP server of net-int does not work: {text}"
    assert cure.endswith("onestack restart neutron-dhcp-agent")


def test_a_port_that_the_agent_has_not_wired() -> None:
    asked = gathered("openvswitch")
    assert asked.switch
    interfaces = [
        replace(each, tag=4095) if each.name == "qvo07733fc0-3d" else each
        for each in asked.switch.interfaces
    ]
    given = replace(asked, switch=replace(asked.switch, interfaces=interfaces))
    found = picture("openvswitch", given)
    assert "is in VLAN 4095, which leads nowhere" in only(found)[1]
    # It is not taken for the network's own.
    assert [network.tag for network in found.networks] == [1, 2]


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_a_binding_that_failed(layout: str) -> None:
    failed = {"binding:vif_type": "binding_failed", "status": "DOWN"}
    given = gathered(layout, ports=ports(layout, guides.PORT_ONE, **failed))
    agent = {"openvswitch": "neutron-openvswitch-agent", "ovn": "ovn-controller"}[layout]
    found = picture(layout, given, {agent: "exited with code 1"})
    _, what, why, cure = only(found)
    assert what == (
        "neutron could not bind the port of the server one in net-int to box (binding_failed)"
    )
    assert why.endswith(f"{agent}: exited with code 1")
    assert cure == (
        f"once that is mended: openstack port unset --host {guides.PORT_ONE}; "
        f"openstack port set --host box {guides.PORT_ONE}; "
        f"openstack server reboot --hard {guides.ONE}"
    )


def test_nothing_that_a_project_writes_is_a_command() -> None:
    """Any owner of a port may write what he likes where whose it is stands."""
    text = "x; reboot"
    changed = {"device_id": text, "binding:vif_type": "binding_failed", "binding:host_id": "a b"}
    given = gathered("openvswitch", ports=ports("openvswitch", guides.PORT_ONE, **changed))
    cure = only(picture("openvswitch", given))[3]
    assert cure == (
        f"once that is mended: openstack port unset --host {guides.PORT_ONE}; "
        f"openstack port set --host 'a b' {guides.PORT_ONE}"
    )
    flat: dict[str, Any] = {"provider:network_type": "flat", "provider:physical_network": text}
    every = [*guides.answers("openvswitch")["network"], guides.network("n3", "n", **flat)]
    cure = only(picture("openvswitch", gathered("openvswitch", networks=every)))[3]
    assert cure == "onestack up --set CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=…,'x; reboot':BRIDGE"
    # Nor is it one in the text of a port of this machine's, of which there is none such.
    own = guides.port("m1", INT, "onestack:management", "", "198.18.8.1", name=f"{text}-mgmt")
    given = gathered("openvswitch", ports=[*guides.answers("openvswitch")["port"], own])
    assert said(picture("openvswitch", given)) == []


def test_this_machines_own_port_in_a_services_network() -> None:
    owner = "onestack:management"
    own = guides.port("m1", INT, owner, guides.HOST, "198.18.8.1", name="octavia-mgmt")
    every = [*guides.answers("openvswitch")["port"], own]
    _, what, _, cure = only(picture("openvswitch", gathered("openvswitch", ports=every)))
    assert what == "no device is in the switch for the port octavia-mgmt in net-int"
    assert cure.endswith("onestack restart octavia-management")
    # The service is switched off, and not purged.
    given = gathered("openvswitch", ports=every)
    assert said(picture("openvswitch", given, keepers=frozenset({"trove-management"}))) == []


@pytest.mark.parametrize(
    ("port", "what"),
    [
        ("int-br-ex", "phy-br-ex in br-ex leads nowhere: there is no int-br-ex"),
        ("patch-tun", "patch-int in br-tun leads nowhere: there is no patch-tun"),
        ("phy-br-ex", "no patch port joins br-ex to br-int"),
        ("patch-int", "no patch port joins br-tun to br-int"),
    ],
)
def test_half_a_pair_of_patch_ports(port: str, what: str) -> None:
    gone = without("openvswitch", "Interface", lambda row: row["name"] == port)
    found = picture("openvswitch", gathered("openvswitch", switch=gone))
    assert said(found) == [what]
    assert {each.finding.cure.rpartition("onestack ")[2] for each in found.wrong} == {
        "restart neutron-openvswitch-agent"
    }


def test_a_patch_port_to_a_bridge_that_nothing_maps_any_more() -> None:
    """The agent leaves its half of it, also where somebody has deleted the bridge since."""
    asked = gathered("openvswitch")
    assert asked.switch
    half = Interface("int-br-two", "br-int", "patch", peer="phy-br-two")
    switch = replace(asked.switch, interfaces=[*asked.switch.interfaces, half])
    assert said(picture("openvswitch", replace(asked, switch=switch))) == []


def test_a_gateway_that_neutron_says_is_down() -> None:
    """The L3 agent reports those on the external bridge itself."""
    given = gathered("openvswitch", ports=ports("openvswitch", guides.GATEWAY, status="DOWN"))
    assert only(picture("openvswitch", given))[3].endswith("onestack restart neutron-l3-agent")


def test_no_patch_port_at_all() -> None:
    both = ("int-br-ex", "phy-br-ex")
    gone = without("openvswitch", "Interface", lambda row: row["name"] in both)
    found = picture("openvswitch", gathered("openvswitch", switch=gone))
    assert only(found)[:2] == ("br-ex", "no patch port joins br-ex to br-int")


def test_ovn_has_patch_ports_from_the_first_that_needs_them() -> None:
    gone = without("ovn", "Interface", lambda row: row["type"] == "patch")
    given = gathered("ovn", switch=gone)
    assert said(picture("ovn", given)) == ["no patch port joins br-ex to br-int"]
    legs = (guides.GATEWAY, guides.INTERFACE)
    left = [each for each in guides.answers("ovn")["port"] if each["id"] not in legs]
    assert said(picture("ovn", replace(given, ports=left, routers=[]))) == []


def test_bridges_that_are_missing_or_not_led() -> None:
    gone = without("openvswitch", "Bridge", lambda row: row["name"] == "br-ex")
    found = picture("openvswitch", gathered("openvswitch", switch=gone))
    assert said(found)[0] == "there is no bridge br-ex"
    assert found.wrong[0].finding.cure.endswith("onestack restart external-bridge")
    asked = gathered("openvswitch")
    assert asked.switch
    alone = {
        name: replace(bridge, connected=False) for name, bridge in asked.switch.bridges.items()
    }
    given = replace(asked, switch=replace(asked.switch, bridges=alone))
    assert "nobody tells br-int what to do with packets" in said(picture("openvswitch", given))
    # OVN needs no controller: one there is somebody's own.
    layer = gathered("ovn")
    assert layer.switch
    own = {name: replace(bridge, connected=False) for name, bridge in layer.switch.bridges.items()}
    given = replace(layer, switch=replace(layer.switch, bridges=own))
    assert said(picture("ovn", given)) == []


@pytest.mark.parametrize(
    ("present", "missing"), [(["10.50.14.1/24"], False), ([], True), (["10.50.14.2/24"], True)]
)
def test_the_machines_own_address(present: list[str], missing: bool) -> None:
    found = picture("ovn", gathered("ovn", addresses={"br-ex": present}))
    what = "the machine has no address 10.50.14.1/24 on br-ex"
    assert said(found) == ([what] if missing else [])


def test_namespaces_that_are_missing() -> None:
    found = picture("openvswitch", gathered("openvswitch", namespaces=frozenset()))
    assert said(found) == [
        f"the namespace qdhcp-{EXT} of net-ext is missing",
        f"the namespace qdhcp-{INT} of net-int is missing",
        f"the namespace qrouter-{ROUTER} of the router router1 is missing",
    ]
    assert [each.about for each in found.wrong] == [EXT, INT, ROUTER]


def test_a_network_without_a_dhcp_server() -> None:
    left = [each for each in guides.answers("openvswitch")["port"] if each["id"] != guides.DHCP_INT]
    given = gathered("openvswitch", ports=left)
    assert said(picture("openvswitch", given)) == ["the network net-int has no DHCP server"]
    quiet = [{**each, "enable_dhcp": False} for each in guides.answers("openvswitch")["subnet"]]
    assert said(picture("openvswitch", replace(given, subnets=quiet))) == []
    off = [{**each, "admin_state_up": False} for each in given.networks]
    assert said(picture("openvswitch", replace(given, networks=off))) == []


def test_of_a_router_that_is_off_the_agent_leaves_nothing() -> None:
    """The agent is told of those alone that are on, and takes away all that it had made."""
    legs = {guides.GATEWAY: "qg-244e25b0-ea", guides.INTERFACE: "qr-d698c4e6-e3"}
    gone = without("openvswitch", "Interface", lambda row: row["name"] in legs.values())
    items = guides.answers("openvswitch")
    down = [{**p, "status": "DOWN"} if p["id"] in legs else p for p in items["port"]]
    given = gathered(
        "openvswitch",
        namespaces=frozenset({f"qdhcp-{EXT}", f"qdhcp-{INT}"}),
        switch=gone,
        ports=down,
        floating=[{**each, "status": "DOWN"} for each in items["floatingip"]],
    )
    assert {each.about for each in picture("openvswitch", given).wrong} == {
        *(ROUTER, *legs, guides.PORT_ONE)
    }
    off = [{**each, "admin_state_up": False} for each in given.routers]
    assert said(picture("openvswitch", replace(given, routers=off))) == []
    # One that was deleted while the others were asked for.
    assert said(picture("openvswitch", replace(given, routers=[]))) == []


def test_a_router_without_legs_has_no_namespace() -> None:
    given = gathered("openvswitch", namespaces=frozenset({f"qdhcp-{EXT}", f"qdhcp-{INT}"}))
    legs = (guides.GATEWAY, guides.INTERFACE)
    left = [each for each in given.ports if each["id"] not in legs]
    assert said(picture("openvswitch", replace(given, ports=left))) == []


def test_a_network_that_gets_no_dhcp_any_more() -> None:
    """Its server's port is left where the agent was away when it was switched off."""
    gone = without("openvswitch", "Interface", lambda row: row["name"] == "tap2e5be949-d4")
    given = gathered("openvswitch", switch=gone)
    assert only(picture("openvswitch", given))[0] == guides.DHCP_INT
    off = [{**n, "admin_state_up": n["id"] != INT} for n in given.networks]
    assert said(picture("openvswitch", replace(given, networks=off))) == []
    quiet = [{**s, "enable_dhcp": s["network_id"] != INT} for s in given.subnets]
    assert said(picture("openvswitch", replace(given, subnets=quiet))) == []
    # Kept for the next server, with its address; a server it is not.
    kept = ports("openvswitch", guides.DHCP_INT, device_id="reserved_dhcp_port")
    found = picture("openvswitch", replace(given, ports=kept))
    assert said(found) == ["the network net-int has no DHCP server"]


def test_a_gateway_without_a_chassis() -> None:
    asked = gathered("ovn")
    assert asked.ovn
    lost, none = replace(asked.ovn, places={}), dict.fromkeys(asked.ovn.scheduled, False)
    what = f"no chassis has the gateway lrp-{guides.GATEWAY} of the router router1"
    for layer, why, who in (
        (lost, "the one that neutron has chosen does not act", "ovn-controller"),
        (replace(lost, scheduled=none), "neutron has chosen none for it", "neutron-workers"),
        (replace(lost, hosts=frozenset()), "no chassis is known to OVN at all", "ovn-controller"),
    ):
        found = picture("ovn", replace(asked, ovn=layer))
        assert only(found)[1:3] == (what, why)
        assert only(found)[3].endswith(f"onestack restart {who}")
    off = [{**each, "admin_state_up": False} for each in asked.routers]
    assert said(picture("ovn", replace(asked, ovn=lost, routers=off))) == []


def test_a_router_that_is_pinned_to_a_chassis_whole() -> None:
    """One behind an external network that is tunnelled, as OVN's are by default."""
    found = picture("ovn", guides.pinned())
    assert said(found) == []
    assert [leg.host for leg in found.routers[0].gateways] == [guides.HOST]
    what = f"no chassis has the gateway lrp-{guides.GATEWAY} of the router router1"
    free = guides.pinned(chassis=False)
    assert only(picture("ovn", free))[1:3] == (what, "neutron has chosen none for it")
    idle = guides.pinned()
    assert idle.ovn
    idle = replace(idle, ovn=replace(idle.ovn, places={}))
    assert only(picture("ovn", idle))[2] == "the one that neutron has chosen does not act"


def test_what_ovn_lacks() -> None:
    asked = gathered("ovn")
    assert asked.ovn
    bare = replace(asked.ovn, switches={}, routers=frozenset())
    assert said(picture("ovn", replace(asked, ovn=bare))) == [
        "OVN has no logical switch of the network net-ext",
        "OVN has no logical switch of the network net-int",
        "OVN has no logical router of router1",
    ]
    mute = replace(asked.ovn, options={guides.SUB_EXT: {}})
    found = picture("ovn", replace(asked, ovn=mute))
    assert said(found) == ["OVN answers no DHCP on sub-int of net-int"]


def test_a_routers_leg_that_ovn_lacks() -> None:
    asked = gathered("ovn")
    assert asked.ovn
    layer = replace(asked.ovn, scheduled={f"lrp-{guides.GATEWAY}": True})
    found = picture("ovn", replace(asked, ovn=layer))
    about, what, _, cure = only(found)
    assert about == guides.INTERFACE
    assert what == f"OVN has no lrp-{guides.INTERFACE} of the port of the router router1 in net-int"
    assert cure == (
        f"look again in a moment; if it stays so: openstack router remove port {ROUTER} "
        f"{guides.INTERFACE}; openstack router add subnet {ROUTER} {guides.SUB_INT}"
    )
    shown = "\n".join(tree.lines(found))
    assert f"router1 192.168.10.1 at lrp-{guides.INTERFACE}, which is" in shown
    # A gateway without its port is told of as that alone: no chassis can have it.
    layer = replace(asked.ovn, scheduled={f"lrp-{guides.INTERFACE}": False}, places={})
    about, what, _, cure = only(picture("ovn", replace(asked, ovn=layer)))
    assert (about, what.partition(" of ")[0]) == (
        guides.GATEWAY,
        f"OVN has no lrp-{guides.GATEWAY}",
    )
    assert cure.endswith(f"openstack router set --external-gateway {EXT} {ROUTER}")


def _unbound(layer: Ovn) -> Ovn:
    """No server's port is on a chassis."""
    servers = (guides.PORT_ONE, guides.PORT_TWO)
    return replace(layer, places={p: h for p, h in layer.places.items() if p not in servers})


def test_a_device_that_a_server_has_left_needs_no_patch_port() -> None:
    gone = without("ovn", "Interface", lambda row: row["type"] == "patch")
    legs = (guides.GATEWAY, guides.INTERFACE)
    ports = [
        {**each, "network_id": EXT} if each["id"] == guides.PORT_ONE else each
        for each in guides.answers("ovn")["port"]
        if each["id"] not in legs
    ]
    given = gathered("ovn", switch=gone, ports=ports, routers=[])
    given = replace(given, namespaces=given.namespaces | {f"ovnmeta-{EXT}"}, active=frozenset())
    assert given.ovn
    assert "no patch port joins br-ex to br-int" in said(picture("ovn", given))
    assert said(picture("ovn", replace(given, ovn=_unbound(given.ovn)))) == []


def test_servers_without_metadata() -> None:
    given = gathered("ovn", namespaces=frozenset())
    assert only(picture("ovn", given))[:2] == (INT, "servers of net-int get no metadata")
    device = without("ovn", "Interface", lambda row: row["name"] == "tap86eaac28-60")
    found = picture("ovn", gathered("ovn", switch=device))
    assert said(found) == ["servers of net-int get no metadata"]
    # Without a server here there is nobody to ask. A device may be left of one that is off.
    assert given.ovn
    nowhere = replace(given, ovn=_unbound(given.ovn), active=frozenset())
    assert said(picture("ovn", nowhere)) == []
    left = [each for each in given.ports if not each["device_owner"].startswith("compute")]
    assert said(picture("ovn", replace(given, ports=left))) == []


def test_a_network_whose_physical_network_is_nowhere() -> None:
    flat: dict[str, Any] = {"provider:network_type": "flat", "provider:physical_network": "lab"}
    every = [*guides.answers("openvswitch")["network"], guides.network("n3", "n-lab", **flat)]
    about, what, why, cure = only(picture("openvswitch", gathered("openvswitch", networks=every)))
    assert (about, what) == ("n3", "the network n-lab leads nowhere")
    assert "lab" in why
    assert cure == "onestack up --set CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=…,lab:BRIDGE"


def test_a_floating_address_that_is_not_there() -> None:
    down = [{**each, "status": "DOWN"} for each in guides.answers("openvswitch")["floatingip"]]
    about, what, _, cure = only(picture("openvswitch", gathered("openvswitch", floating=down)))
    assert (about, what) == (guides.PORT_ONE, "the floating address 10.50.14.57 is DOWN")
    assert cure.endswith("onestack restart neutron-l3-agent")


def test_a_process_that_is_not_ready_is_told_of_once() -> None:
    """By what it has not done, or by itself: a switch that is dead leaves all in its database."""
    dead = {"ovs-vswitchd": "failed 3 times"}
    about, what, why, cure = only(picture("openvswitch", None, dead))
    assert (about, what, why) == ("", "ovs-vswitchd is not ready", "ovs-vswitchd: failed 3 times")
    assert cure.endswith("onestack restart ovs-vswitchd")
    given = gathered("openvswitch", namespaces=frozenset({f"qdhcp-{EXT}", f"qdhcp-{INT}"}))
    found = picture("openvswitch", given, DEAD)
    assert said(found) == [f"the namespace qrouter-{ROUTER} of the router router1 is missing"]


def test_where_the_switch_does_not_answer_nothing_is_missed() -> None:
    """It is told once, and not of each device."""
    for layout in ("openvswitch", "ovn"):
        given = gathered(layout, switch=None, ovn=None)
        found = picture(layout, given)
        assert said(found) == [] and not found.seen
        assert all(bridge.there for bridge in found.bridges)
