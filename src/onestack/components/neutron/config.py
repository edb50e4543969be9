"""The configuration files of neutron's API and workers; features have their share of them."""

from __future__ import annotations

from collections.abc import Iterable

from onestack.components import openstack
from onestack.components.neutron import keys
from onestack.components.neutron.features import mechanism_of
from onestack.components.neutron.features.mechanism import Mechanism
from onestack.components.neutron.layout import DNS_DOMAIN, Layout
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, ini_file
from onestack.model.errors import BadAnswers
from onestack.model.host import Role
from onestack.model.ini import Ini, Value, read_option
from onestack.network.bridges import Bridges

PRIVSEP = {
    "privsep": "neutron.privileged.default",
    "privsep_dhcp_release": "neutron.privileged.dhcp_release_cmd",
    "privsep_ovs_vsctl": "neutron.privileged.ovs_vsctl_cmd",
    "privsep_namespace": "neutron.privileged.namespace_cmd",
    "privsep_conntrack": "neutron.privileged.conntrack_cmd",
    "privsep_link": "neutron.privileged.link_cmd",
}
"""Upstream's privsep contexts, by configuration section."""

_COMMON = (
    "neutron",
    "keystonemiddleware.auth_token",
    "nova.auth",
    "oslo.concurrency",
    "oslo.db",
    "oslo.log",
    "oslo.messaging",
    "oslo.middleware",
    "oslo.policy",
    "oslo.privsep",
    "placement.auth",
)

_DRIVERS = "mechanism_drivers"
EXTENSION_DRIVERS = (
    *("port_security", "qos"),
    # Names of ports, with what a subnet says of them; it brings what "dns" has.
    "subnet_dns_publish_fixed_ip",
    *("tag_ports_during_bulk_creation", "port_trusted"),
)
"""What networks, subnets and ports may have besides; who asks for nothing of it gets nothing."""
ZONE = "nova"
"""Upstream's availability zone of agents that are given none."""


def carrier(ctx: Context) -> str:
    """The mechanism of the cloud as it was made; ``""`` before."""
    drivers = read_option(ctx.once(Layout).ml2, _DRIVERS)
    if drivers is None:
        return ""
    return "ovn" if "ovn" in drivers.split(",") else "openvswitch"


def files(ctx: Context) -> Iterable[ConfigFile]:
    """Only root and neutron's group may read them."""
    layout, chosen = ctx.once(Layout), mechanism_of(ctx)
    yield ini_file(
        layout.neutron_conf,
        layout.user,
        _neutron(ctx, chosen),
        *_COMMON,
        "neutron.agent",
        "neutron.fwaas",
    )
    yield ini_file(
        layout.ml2,
        layout.user,
        _ml2(ctx, chosen),
        "neutron.ml2",
        "neutron.ml2.ovn",
        "neutron.ml2.ovs.agent",
        roles=frozenset({Role.CONTROLLER}),
    )


NOT_FOR_AGENTS = ("database", "keystone_authtoken", "nova", "placement")
"""Sections of what answers, and of what it asks: an agent elsewhere has none of them."""


def _neutron(ctx: Context, chosen: Mechanism) -> Ini:
    found = _whole(ctx, chosen)
    if not ctx.joined:
        return found
    options = found["DEFAULT"]
    if not chosen.agents_by_bus:
        # OVN's agent speaks with OVN's databases alone.
        options = {k: v for k, v in options.items() if k != "transport_url"}
    return {**{k: v for k, v in found.items() if k not in NOT_FOR_AGENTS}, "DEFAULT": options}


def _whole(ctx: Context, chosen: Mechanism) -> Ini:
    layout = ctx.once(Layout)
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "host": ctx.host.name,
            "transport_url": openstack.transport_url(ctx),
            "state_path": str(layout.state),
            "core_plugin": "ml2",
            "service_plugins": (chosen.router, "qos", "trunk", "segments", "port_forwarding"),
            "rpc_workers": 1,
            # State reports are few on one machine: the RPC worker takes them too.
            "rpc_state_report_workers": 0,
            "dhcp_agent_notification": chosen.agents_by_bus,
            # With the default of the option ports have no names of their own.
            "dns_domain": DNS_DOMAIN,
            "setproctitle": "off",
        },
        "database": openstack.database(ctx, "neutron", "neutron"),
        "keystone_authtoken": openstack.authtoken(ctx, "neutron", "network"),
        "nova": openstack.credentials(ctx, "nova", "endpoint_type"),
        "placement": openstack.credentials(ctx, "placement", "endpoint_type"),
        # before each command for a network namespace; see `namespaces`
        "agent": {"root_helper": str(openstack.root_helper(ctx))},
        "oslo_concurrency": openstack.locks(ctx, "neutron"),
        **openstack.privsep(ctx, tuple(PRIVSEP), layout.neutron_conf),
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }


def _ml2(ctx: Context, chosen: Mechanism) -> Ini:
    answers = ctx.answers
    # What is switched off is asked too, for its files' places.
    if ctx.offers("network") and (wrong := list(keys.validate(answers, chosen.name))):
        raise BadAnswers(
            f"the answers do not fit {chosen.name}, which carries this cloud's networks",
            "\n".join(wrong),
            "change them, or choose with CONFIG_NEUTRON_L2_AGENT",
        )
    projects = tuple(answers["CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"])
    return {
        "ml2": {
            "type_drivers": keys.network_types(answers, chosen.name),
            "project_network_types": projects or chosen.project_types,
            _DRIVERS: keys.mechanism_drivers(answers, chosen.name),
            "extension_drivers": EXTENSION_DRIVERS,
            "overlay_ip_version": 4,
        },
        "ml2_type_flat": {"flat_networks": answers["CONFIG_NEUTRON_ML2_FLAT_NETWORKS"]},
        "ml2_type_vlan": {"network_vlan_ranges": answers["CONFIG_NEUTRON_ML2_VLAN_RANGES"]},
        "securitygroup": {"enable_security_group": True},
        "ovs": {"ovsdb_connection": ctx.at("switch").target},
    }


def tested(ctx: Context) -> dict[str, Value]:
    """What Tempest's tests of neutron have to know."""
    # Imported late: it writes a part of these files.
    from onestack.components.neutron.features.openvswitch import firewall_driver

    agent = ctx.once(Bridges).agent
    types = keys.network_types(ctx.answers, agent)
    ranges = [each.partition(":")[0] for each in ctx.answers[keys.VLAN_RANGES]]
    found: dict[str, Value] = {
        "firewall_driver": agent if agent == "ovn" else firewall_driver(ctx),
        "dns_domain": DNS_DOMAIN,
        "available_type_drivers": types,
        "create_shared_resources": True,
    }
    if "vlan" in types and ranges:
        found["provider_vlans"] = tuple(dict.fromkeys(ranges))
    if agent == "openvswitch":
        found["agent_availability_zone"] = ZONE
    return found
