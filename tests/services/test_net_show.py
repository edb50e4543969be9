"""`onestack net show` on a cloud of each layout: what it finds, what its cures do, how fast it is.

The guide's test looks at the guide's networks with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

MANY = 100
MAKE_MANY = f"""
import json, os, ssl, urllib.request

context = ssl.create_default_context(cafile=os.environ["OS_CACERT"])

def ask(url, body, token=""):
    headers = {{"Content-Type": "application/json", "X-Auth-Token": token}}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, context=context) as answer:
        return answer.headers, json.load(answer)

domain = {{"name": "Default"}}
user = {{"name": os.environ["OS_USERNAME"], "password": os.environ["OS_PASSWORD"]}}
user["domain"] = domain
scope = {{"project": {{"name": "admin", "domain": domain}}}}
identity = {{"methods": ["password"], "password": {{"user": user}}}}
auth = {{"auth": {{"identity": identity, "scope": scope}}}}
headers, body = ask(os.environ["OS_AUTH_URL"].rstrip("/") + "/auth/tokens", auth)
token = headers["X-Subject-Token"]
ends = next(s["endpoints"] for s in body["token"]["catalog"] if s["type"] == "network")
url = next(e["url"] for e in ends if e["interface"] == "public").rstrip("/") + "/v2.0"
wanted = [{{"name": f"many-{{n:03}}"}} for n in range({MANY})]
made = ask(url + "/networks", {{"networks": wanted}}, token)[1]["networks"]
subnets = [
    {{"network_id": each["id"], "cidr": f"10.99.{{n}}.0/24", "ip_version": 4, "enable_dhcp": False}}
    for n, each in enumerate(made)
]
ask(url + "/subnets", {{"subnets": subnets}}, token)
ask(url + "/ports", {{"ports": [{{"network_id": each["id"]}} for each in made * 2]}}, token)
"""
of_agents = pytest.mark.parametrize("layout", ["openvswitch"], indirect=True)
of_ovn = pytest.mark.parametrize("layout", ["ovn"], indirect=True)


@pytest.fixture(scope="module", params=["openvswitch", "ovn"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cloud(layout: str) -> Iterator[CloudUnderTest]:
    name = os.environ.get("ONESTACK_TEST_NAME", "show") + layout[:3]
    answers = (
        f"CONFIG_NEUTRON_L2_AGENT={layout}",
        "CONFIG_CINDER_INSTALL=n",
        "CONFIG_ONESTACK_IMAGE=y",
        "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    )
    with (made := CloudUnderTest(name, answers=answers)).living(timeout=1200):
        yield made


def show(cloud: CloudUnderTest, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return run([str(LAUNCHER), "net", "show", *words, "--name", cloud.name], **more)


def well(cloud: CloudUnderTest) -> str:
    """What is shown once nothing is wrong."""
    shown: str = wait_until("nothing wrong", lambda: show(cloud).stdout, 120)
    return shown


def findings(cloud: CloudUnderTest) -> list[dict[str, str]]:
    """What is wrong, and it is the exit code's word too."""
    found: list[dict[str, str]] = json.loads(show(cloud, "--json", expect=1).stdout)["findings"]
    return found


def test_a_new_cloud(cloud: CloudUnderTest) -> None:
    shown = well(cloud)
    assert "br-ex  bridge to the outside" in shown and "10.50.14.1/24 of this machine" in shown
    assert "br-int  bridge that all is plugged into" in shown


def test_networks_a_router_and_a_server(cloud: CloudUnderTest) -> None:
    cloud.type(
        "set -e; "
        "openstack network create net-ext --external --provider-network-type local; "
        "openstack subnet create sub-ext --network net-ext --subnet-range 10.50.14.0/24 "
        "--gateway 10.50.14.1 --allocation-pool start=10.50.14.51,end=10.50.14.59; "
        "openstack network create net-int; "
        "openstack subnet create sub-int --network net-int --subnet-range 192.168.10.0/24; "
        "openstack router create router1 --external-gateway net-ext; "
        "openstack router add subnet router1 sub-int; "
        "openstack server create --wait --flavor m1.nano --image cirros --network net-int one",
        timeout=600,
    )
    shown = well(cloud)
    for word in ("net-ext", "net-int", "router1", "one", "sub-int"):
        assert f"{word} " in shown
    assert show(cloud, "router1").stdout.startswith("router1  router, ")
    assert "did you mean net-int" in show(cloud, "net-itn", expect=2).stderr


def mended(cloud: CloudUnderTest, breaks: str, what: str) -> None:
    """``breaks`` is found as ``what``, and its cure, typed as it stands there, mends it."""
    cloud.type(breaks)
    found = wait_until(what, lambda: [each for each in findings(cloud) if what in each["what"]], 30)
    cure = found[0]["cure"].partition("if it stays so: ")[2]
    assert cure.startswith(("onestack restart ", "openstack ")), found
    if cure.startswith("onestack restart "):
        cloud.onestack("restart", cure.split()[-1], timeout=180)
    else:
        cloud.type(cure, timeout=180)
    well(cloud)


def device(cloud: CloudUnderTest, network: str, kind: str) -> str:
    networks = json.loads(show(cloud, network, "--json", expect=None).stdout)["networks"]
    (port,) = (each for each in networks[0]["ports"] if each["kind"] == kind)
    return str(port["plug"]["device"])


def test_a_servers_device_that_is_gone(cloud: CloudUnderTest) -> None:
    gone = device(cloud, "net-int", "server")
    mended(cloud, f"ovs-vsctl del-port br-int {gone}", f"{gone} is missing in the switch")


def test_a_server_that_is_switched_off_is_nothing_wrong(cloud: CloudUnderTest) -> None:
    """Nor is one that is about to be: nova calls it ACTIVE until it is off."""
    cloud.type("openstack server stop one")
    status = "openstack server show one -f value -c status"
    until = time.monotonic() + 120
    while cloud.type(status).strip() != "SHUTOFF":
        assert time.monotonic() < until
        show(cloud, expect=0)
    show(cloud, expect=0)
    cloud.type("openstack server start one")
    wait_until("ACTIVE", lambda: cloud.type(status).strip() == "ACTIVE", 120)
    well(cloud)


def test_a_router_that_is_switched_off_is_nothing_wrong(cloud: CloudUnderTest) -> None:
    """Its floating address may be DOWN."""
    cloud.type(
        "openstack floating ip create net-ext --floating-ip-address 10.50.14.55 "
        "--port $(openstack port list --server one -f value -c id)"
    )
    well(cloud)
    cloud.type("openstack router set --disable router1")

    def gone() -> bool:
        """What is there of it goes a moment later, and is not missed then."""
        router = json.loads(show(cloud, "router1", "--json").stdout)["routers"][0]
        legs = (*router["gateways"], *router["interfaces"])
        return not any(leg["plug"] or (leg["logical"] and leg["host"]) for leg in legs)

    wait_until("the end of it", gone, 60)
    assert "switched off" in show(cloud).stdout
    cloud.type("openstack router set --enable router1")
    assert "switched off" not in well(cloud)
    cloud.type("openstack floating ip delete 10.50.14.55")


def test_an_external_network_that_is_tunnelled(cloud: CloudUnderTest) -> None:
    """As one is that is asked for without a type: OVN pins its router to a chassis whole."""
    cloud.type(
        "set -e; openstack network create net-far --external; "
        "openstack subnet create sub-far --network net-far --subnet-range 10.60.0.0/24; "
        "openstack router create router2 --external-gateway net-far"
    )
    well(cloud)
    found = json.loads(show(cloud, "router2", "--json").stdout)["routers"][0]
    (gateway,) = found["gateways"]
    assert gateway["host"] and gateway["addresses"]
    cloud.type("openstack router delete router2; openstack network delete net-far")
    well(cloud)


@of_agents
def test_what_the_agents_have_made_and_is_gone(cloud: CloudUnderTest) -> None:
    for kind in ("DHCP", "router interface"):
        gone = device(cloud, "net-int", kind)
        mended(cloud, f"ovs-vsctl del-port br-int {gone}", f"{gone} is missing in the switch")
    mended(cloud, "ovs-vsctl del-port br-int int-br-ex", "phy-br-ex in br-ex leads nowhere")


@of_ovn
def test_a_routers_leg_that_ovn_lacks(cloud: CloudUnderTest) -> None:
    router = json.loads(show(cloud, "router1", "--json").stdout)["routers"][0]
    for kind in ("interfaces", "gateways"):
        (leg,) = router[kind]
        broken = f"ovn-nbctl lrp-del {leg['logical']}"
        mended(cloud, broken, f"OVN has no {leg['logical']} of the port of the router router1")


@of_ovn
def test_a_gateway_that_no_chassis_has(cloud: CloudUnderTest) -> None:
    router = json.loads(show(cloud, "router1", "--json").stdout)["routers"][0]
    (gateway,) = router["gateways"]
    assert gateway["host"]
    clear = f"clear Logical_Router_Port {gateway['logical']}"
    cloud.type(f"ovn-nbctl {clear} ha_chassis_group -- {clear} gateway_chassis")
    what = f"no chassis has the gateway {gateway['logical']}"
    wait_until(what, lambda: what in str(findings(cloud)), 30)
    cloud.type(
        "openstack router unset --external-gateway router1 && "
        "openstack router set --external-gateway net-ext router1"
    )
    well(cloud)


def test_the_machines_address(cloud: CloudUnderTest) -> None:
    cloud.type("ip address del 10.50.14.1/24 dev br-ex")
    # The keeper puts it back by itself, sooner or later than it is looked for.
    well(cloud)
    assert "10.50.14.1/24 of this machine" in show(cloud).stdout


def test_a_hundred_networks(cloud: CloudUnderTest, tmp_path: Path) -> None:
    script = tmp_path / "many.py"
    script.write_text(MAKE_MANY)
    cloud.type(f"openstack quota set --networks -1 --subnets -1 --ports -1 admin; python3 {script}")
    well(cloud)
    begun = time.monotonic()
    shown = show(cloud).stdout
    took = time.monotonic() - begun
    print(f"\n{MANY} networks are shown in {took:.1f} s")
    assert all(f"many-{number:03}  network" in shown for number in range(MANY))


def test_a_cloud_that_is_down(cloud: CloudUnderTest) -> None:
    cloud.onestack("down", timeout=300)
    said = show(cloud, expect=1).stderr
    assert "is down" in said and "onestack up" in said and "Traceback" not in said
