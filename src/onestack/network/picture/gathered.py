"""What the services, the switch and the kernel say, asked with few calls, however much there is.

Without neutron nothing can be drawn; what else does not answer is said, and what it would have
told is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from onestack.host import links
from onestack.host.command import run
from onestack.kernel.namespaces import NAMES
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, refuse
from onestack.network.bridges import Bridges
from onestack.network.picture import ovn as ovns
from onestack.network.picture import switch as switches
from onestack.network.picture import tables
from onestack.network.picture.ovn import Ovn
from onestack.network.picture.switch import Switch

T = TypeVar("T")
Item = Mapping[str, Any]
FIELDS = {
    "network": (
        *("id", "name", "admin_state_up", "shared", "router:external"),
        *("provider:network_type", "provider:physical_network", "provider:segmentation_id"),
    ),
    "subnet": (
        *("id", "name", "network_id", "cidr", "gateway_ip", "ip_version"),
        *("enable_dhcp", "allocation_pools"),
    ),
    "port": (
        *("id", "name", "network_id", "status", "admin_state_up", "mac_address", "fixed_ips"),
        *("device_id", "device_owner", "binding:host_id", "binding:vif_type"),
        *("binding:vif_details", "allowed_address_pairs"),
    ),
    "router": ("id", "name", "admin_state_up", "routes"),
    "floatingip": (
        *("id", "floating_ip_address", "floating_network_id", "port_id"),
        *("router_id", "status", "port_forwardings"),
    ),
}
"""What is asked of each kind; less is answered sooner."""
STATES = ("vm_state", "task_state", "power_state")
SETTLED = ("active", None, 1)
BALANCER = ("id", "name", "vip_port_id")


@dataclass(frozen=True)
class Gathered:
    """``None`` stands for what could not be asked."""

    networks: Sequence[Item]
    subnets: Sequence[Item]
    ports: Sequence[Item]
    routers: Sequence[Item]
    floating: Sequence[Item]
    servers: Mapping[str, str] | None = None
    """Their names."""
    active: frozenset[str] = frozenset()
    """Servers that are to have their network: they run, and nothing is being done with them."""
    balancers: Sequence[Item] = ()
    switch: Switch | None = None
    ovn: Ovn | None = None
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The machine's, by device."""
    namespaces: frozenset[str] = frozenset()
    silent: tuple[Finding, ...] = ()
    """Who did not answer."""


def gather(ctx: Context) -> Gathered:
    """Of a cloud that runs, in its network. Raises `OnestackError` where neutron does not tell.

    What is made later is asked for later: a server runs once it has its port and device, a port
    is there before its device is. So what is made meanwhile is seldom missed.
    """
    silent: list[Finding] = []
    servers: Sequence[Item] | None = ()
    if ctx.offers("compute"):
        servers = _unless_silent(silent, "nova", SERVERS, lambda: _servers(ctx))
    found = _neutron(ctx)
    if not any(map(of_server, found["port"])):
        # Nothing would be told of nova's either.
        silent.clear()
    switch = _unless_silent(silent, "Open vSwitch", SWITCH, lambda: _switch(ctx))
    layer = None
    if ctx.once(Bridges).agent == "ovn":
        layer = _unless_silent(silent, "OVN", OVN, lambda: _ovn(ctx))
    balancers: Sequence[Item] | None = ()
    if ctx.offers("load-balancer"):
        balancers = _unless_silent(silent, "Octavia", BALANCERS, lambda: _balancers(ctx))
    return Gathered(
        networks=found["network"],
        subnets=found["subnet"],
        ports=found["port"],
        routers=found["router"],
        floating=found["floatingip"],
        servers=None if servers is None else {each["id"]: each["name"] for each in servers},
        active=frozenset(each["id"] for each in servers or () if _is_settled(each)),
        balancers=balancers or (),
        switch=switch,
        ovn=layer,
        addresses=links.addresses(),
        namespaces=_namespaces(ctx),
        silent=tuple(silent),
    )


def _is_settled(server: Item) -> bool:
    """Nova calls it ACTIVE also while it is stopped, rebooted or deleted, or has just ended."""
    return tuple(server[f"OS-EXT-STS:{state}"] for state in STATES) == SETTLED


def _unless_silent(
    silent: list[Finding], who: str, otherwise: tuple[str, str], ask: Callable[[], T]
) -> T | None:
    """What it says, or nothing and a finding of what is not known then, with a cure."""
    # Imported late: the verb's options are read where only the standard library is.
    from keystoneauth1.exceptions import ClientException

    try:
        return ask()
    except OnestackError as error:
        why = ": ".join(filter(None, (error.what, error.why)))
    except (ClientException, ValueError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"
    unknown, cure = otherwise
    silent.append(refuse(f"{who} does not tell {unknown}", why, cure))
    return None


SWITCH = ("what is plugged in where", "onestack restart ovsdb-server")
OVN = ("which chassis has what", "onestack restart ovn")
SERVERS = (
    "the names of servers and which run: they have their ids here, and no port of theirs is missed",
    "onestack restart nova-api",
)
BALANCERS = ("the names of load balancers", "onestack restart octavia")


def _neutron(ctx: Context) -> dict[str, list[Any]]:
    from keystoneauth1.exceptions import ClientException

    from onestack.cloudapi.neutron import neutron_of

    api = neutron_of(ctx)
    try:
        return {kind: api.all(kind, fields=fields) for kind, fields in FIELDS.items()}
    except ClientException as error:
        raise OnestackError(
            "neutron does not tell of the networks", str(error), "see onestack logs neutron-api"
        ) from error


def _servers(ctx: Context) -> list[dict[str, Any]]:
    from onestack.cloudapi.compute import compute_of

    return compute_of(ctx).everybodys()


def _balancers(ctx: Context) -> list[dict[str, Any]]:
    from onestack.cloudapi.balancers import balancers

    return balancers(ctx, *BALANCER)


def of_server(port: Item) -> bool:
    return str(port["device_owner"]).startswith("compute:")


def _switch(ctx: Context) -> Switch:
    return switches.switch(_told(ctx, "ovs-vsctl", switches.QUESTIONS))


def _ovn(ctx: Context) -> Ovn:
    north = _told(ctx, "ovn-nbctl", ovns.NORTHBOUND)
    return ovns.ovn(north, _told(ctx, "ovn-sbctl", ovns.SOUTHBOUND))


def _told(ctx: Context, tool: str, questions: Sequence[tables.Question]) -> Any:
    """By one of the tools in ``ROOT/bin``, which know the cloud's own sockets."""
    said = run([ctx.cloud.bin / tool, *tables.words(questions)], timeout=20)
    return tables.read(said.out, questions)


def _namespaces(ctx: Context) -> frozenset[str]:
    """As this cloud's agents see them; see `onestack.kernel.namespaces`."""
    place = ctx.cloud.run / "netns" if ctx.cloud.netns else NAMES
    return frozenset(path.name for path in place.iterdir()) if place.is_dir() else frozenset()
