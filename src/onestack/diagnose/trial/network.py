"""A network, the way from it to the outside, and an address there."""

from __future__ import annotations

import ipaddress

from onestack.cloudapi.neutron import neutron_of
from onestack.diagnose.trial.made import NAME, Item, LeftOut, Made
from onestack.host import links

RANGE = "10.199.0.0/24"


def network(made: Made) -> str:
    made.network = _make(made, "network", name=NAME)["id"]
    subnet = _make(made, "subnet", name=NAME, network_id=made.network, ip_version=4, cidr=RANGE)
    group = _make(made, "security-group", name=NAME)["id"]
    for wanted in (
        {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
        {"protocol": "icmp"},
    ):
        _make(
            made,
            "security-group-rule",
            security_group_id=group,
            direction="ingress",
            ethertype="IPv4",
            **wanted,
        )
    fixed = [{"subnet_id": subnet["id"]}]
    made.port = _make(
        made,
        "port",
        name=NAME,
        network_id=made.network,
        fixed_ips=fixed,
        security_groups=[group],
    )
    return f"with a port, {address(made)}"


def address(made: Made) -> str:
    """The server's in the network."""
    return str(made.port["fixed_ips"][0]["ip_address"])


def router(made: Made) -> str:
    """To the external network that is the default one, or the first of those there are."""
    found = made.ask("network", "/v2.0/networks?router:external=true")["networks"]
    found.sort(key=lambda each: (not each.get("is_default"), each["name"]))
    outside = next(filter(lambda each: _subnets(made, each["id"]), found), None)
    if not outside:
        raise LeftOut("there is no external network with a subnet of IPv4")
    gateway = {"network_id": outside["id"]}
    made_router = _make(made, "router", name=NAME, external_gateway_info=gateway)
    subnet = made.port["fixed_ips"][0]["subnet_id"]
    path = f"/v2.0/routers/{made_router['id']}/add_router_interface"
    made.ask("network", path, {"subnet_id": subnet}, method="PUT")
    made.outside = outside
    return f"to {outside['name']}"


def _subnets(made: Made, network: str) -> list[Item]:
    """Asked by the administrator: who only uses an external network is not shown them."""
    return neutron_of(made.ctx).all("subnet", network_id=network, ip_version="4")


def near(made: Made) -> bool:
    """Whether this machine has an address in the external network."""
    ranges = [ipaddress.ip_network(each["cidr"]) for each in _subnets(made, made.outside["id"])]
    own = [each for device in links.addresses().values() for each in device]
    return any(ipaddress.ip_interface(one).ip in each for one in own for each in ranges)


def floating(made: Made) -> str:
    body = {"floating_network_id": made.outside["id"], "port_id": made.port["id"]}
    made.address = _make(made, "floatingip", **body)["floating_ip_address"]
    return made.address


def _make(made: Made, kind: str, **body: object) -> Item:
    key = kind.replace("-", "_")
    answer: Item = made.ask("network", f"/v2.0/{kind}s", {key: body})[key]
    return answer
