"""Neutron's configuration files."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

from onestack.components import openstack
from onestack.components.neutron import fwaas, keys
from onestack.components.neutron.layout import NOVA_METADATA_PORT, Layout
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, ini_file
from onestack.model.errors import BadAnswers
from onestack.model.ini import Ini, Value, read_option

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


def carrier(layout: Layout) -> str:
    """`Layout.agent` of the cloud as it was made; ``""`` before."""
    drivers = read_option(_ml2_file(layout), _DRIVERS)
    if drivers is None:
        return ""
    return "ovn" if "ovn" in drivers.split(",") else "openvswitch"


def _ml2_file(layout: Layout) -> Path:
    return layout.etc / "ml2.ini"


def files(ctx: Context) -> Iterable[ConfigFile]:
    """All of them; only root and neutron's group may read."""
    layout = Layout(ctx)
    yield ini_file(
        layout.neutron_conf,
        layout.user,
        _neutron(layout),
        *_COMMON,
        "neutron.agent",
        "neutron.fwaas",
    )
    yield ini_file(
        _ml2_file(layout),
        layout.user,
        _ml2(layout),
        "neutron.ml2",
        "neutron.ml2.ovn",
        "neutron.ml2.ovs.agent",
    )
    if layout.ovn:
        yield ini_file(
            layout.etc / "ovn_agent.ini",
            layout.user,
            _ovn_agent(layout),
            "neutron.ml2.ovn.agent",
            "neutron.base.agent",
        )
        return
    agents: tuple[tuple[str, Ini, tuple[str, ...]], ...] = (
        ("openvswitch", _openvswitch_agent(layout), ("neutron.ml2.ovs.agent",)),
        ("l3", _l3_agent(layout), ("neutron.l3.agent", "firewall.agent")),
        ("dhcp", _dhcp_agent(layout), ("neutron.dhcp.agent",)),
        ("metadata", _metadata(layout), ("neutron.metadata.agent",)),
        *(
            [("metering", _metering_agent(layout), ("neutron.metering.agent",))]
            if metered(layout)
            else []
        ),
    )
    for name, sections, namespaces in agents:
        yield ini_file(
            layout.etc / f"{name}_agent.ini",
            layout.user,
            sections,
            *namespaces,
            "neutron.base.agent",
            "neutron.ml2.ovs.agent",
        )
    # dnsmasq is started as root and would become "nobody", whom ROOT shuts out.
    yield ConfigFile(
        layout.etc / "dnsmasq.conf",
        f"user={layout.user}\ngroup={layout.user}\n{_dnsmasq_time(layout)}",
        layout.user,
    )


def _neutron(layout: Layout) -> Ini:
    ctx = layout.ctx
    data = layout.state
    plugins = ["ovn-router" if layout.ovn else "router"]
    plugins += ("qos", "trunk", "segments", "port_forwarding")
    if fwaas.on(layout):
        plugins.append(fwaas.PLUGIN)
    if metered(layout):
        plugins.append("metering")
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "transport_url": openstack.transport_url(ctx),
            "state_path": str(data),
            "core_plugin": "ml2",
            "service_plugins": plugins,
            "rpc_workers": 1,
            # State reports are few on one machine: the RPC worker takes them too.
            "rpc_state_report_workers": 0,
            "dhcp_agent_notification": not layout.ovn,
            "setproctitle": "off",
        },
        "database": openstack.database(ctx, "neutron", "neutron"),
        "keystone_authtoken": openstack.authtoken(ctx, "neutron", "network"),
        "nova": openstack.credentials(ctx, "nova", "endpoint_type"),
        "placement": openstack.credentials(ctx, "placement", "endpoint_type"),
        "agent": {"root_helper": _root_helper(layout)},
        "oslo_concurrency": openstack.locks(ctx, "neutron"),
        **openstack.privsep(ctx, tuple(PRIVSEP), layout.neutron_conf),
        **openstack.messaging(ctx),
        **openstack.proxied(),
        **fwaas.server(layout),
    }


def metered(layout: Layout) -> bool:
    return not layout.ovn and bool(layout.ctx.answers["CONFIG_NEUTRON_METERING_AGENT_INSTALL"])


def _root_helper(layout: Layout) -> str:
    """The program before each command for a network namespace; see `namespaces`."""
    return str(openstack.root_helper(layout.ctx))


def _ml2(layout: Layout) -> Ini:
    answers = layout.ctx.answers
    if wrong := list(keys.validate(answers, layout.agent)):
        raise BadAnswers(
            f"the answers do not fit {layout.agent}, which carries this cloud's networks",
            "\n".join(wrong),
            "change them, or choose with CONFIG_NEUTRON_L2_AGENT",
        )
    types = _types(layout)
    drivers = tuple(answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]) or (layout.agent,)
    if layout.ovn:
        drivers = (*drivers, "onestack_external")
    ranges = answers["CONFIG_NEUTRON_ML2_VNI_RANGES"]
    vlans = answers["CONFIG_NEUTRON_ML2_VLAN_RANGES"]
    sections: Ini = {
        "ml2": {
            "type_drivers": types,
            "project_network_types": tuple(answers["CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"])
            or (("geneve",) if layout.ovn else ("vxlan",)),
            _DRIVERS: drivers,
            "extension_drivers": ("port_security", "qos"),
            "overlay_ip_version": 4,
        },
        "ml2_type_flat": {"flat_networks": answers["CONFIG_NEUTRON_ML2_FLAT_NETWORKS"]},
        "ml2_type_vlan": {"network_vlan_ranges": vlans},
        "securitygroup": {"enable_security_group": True},
        "ovs": {"ovsdb_connection": layout.ovsdb},
    }
    if layout.ovn:
        sections["ml2_type_geneve"] = {"vni_ranges": ranges, "max_header_size": 38}
        sections["ovn"] = {
            "ovn_nb_connection": layout.northbound,
            "ovn_sb_connection": layout.southbound,
            "ovn_metadata_enabled": True,
            # The maintenance worker mends differences by revision numbers in any case; a
            # comparison of everything would be made at each of its starts.
            "neutron_sync_mode": "off",
            "dns_servers": layout.ctx.facts.resolvers or ("0.0.0.0",),
            # A packet passes connection tracking a few times only (6) in a userspace datapath;
            # from one floating IP to another it would be more, with translation in there too.
            "stateless_nat_enabled": layout.datapath == "netdev",
        }
        if servers := time_servers(layout.ctx):
            sections["ovn"]["ovn_dhcp4_global_options"] = f"ntp_server:{';'.join(servers)}"
    else:
        sections["ml2_type_vxlan"] = {
            "vni_ranges": ranges,
            "vxlan_group": str(answers["CONFIG_NEUTRON_ML2_VXLAN_GROUP"]),
        }
        if "gre" in types:
            sections["ml2_type_gre"] = {
                "tunnel_id_ranges": answers["CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES"]
            }
        sections["securitygroup"]["firewall_driver"] = firewall(layout)
    return sections


def time_servers(ctx: Context) -> tuple[str, ...]:
    """Those of CONFIG_NTP_SERVERS that DHCP can name: IPv4 addresses."""
    return tuple(s for s in ctx.answers["CONFIG_NTP_SERVERS"] if is_address(s))


def is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _dnsmasq_time(layout: Layout) -> str:
    servers = time_servers(layout.ctx)
    return f"dhcp-option=option:ntp-server,{','.join(servers)}\n" if servers else ""


def firewall(layout: Layout) -> str:
    """The kernel's conntrack does security groups where the datapath has none to trust."""
    return "iptables_hybrid" if layout.datapath == "netdev" else "openvswitch"


def _types(layout: Layout) -> tuple[str, ...]:
    """Kinds of networks, local always among them (the guide's are)."""
    usual = keys.OVN_TYPES if layout.ovn else keys.OPENVSWITCH_DEFAULT
    types = tuple(layout.ctx.answers["CONFIG_NEUTRON_ML2_TYPE_DRIVERS"]) or usual
    return types if "local" in types else ("local", *types)


def _openvswitch_agent(layout: Layout) -> Ini:
    answers = layout.ctx.answers
    types = _types(layout)
    drivers = answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]
    return {
        "ovs": {
            "ovsdb_connection": layout.ovsdb,
            "integration_bridge": layout.integration_bridge,
            "tunnel_bridge": layout.ctx.cloud.device("br-tun"),
            "bridge_mappings": tuple(f"{n}:{b}" for n, b in layout.bridge_mappings.items()),
            "local_ip": layout.tunnel_address,
            "datapath_type": layout.datapath,
            "of_listen_address": layout.ctx.internal,
        },
        "agent": {
            "tunnel_types": tuple(kind for kind in types if kind in ("gre", "vxlan")),
            "vxlan_udp_port": int(answers["CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT"]),
            "l2_population": "l2population" in drivers,
            "extensions": ("qos",),
        },
        "securitygroup": {
            "enable_security_group": True,
            "firewall_driver": firewall(layout),
            "enable_ipset": True,
        },
    }


def _interface(layout: Layout) -> dict[str, Value]:
    return {
        "ovsdb_connection": layout.ovsdb,
        "integration_bridge": layout.integration_bridge,
        "datapath_type": layout.datapath,
    }


def _l3_agent(layout: Layout) -> Ini:
    extensions = ["port_forwarding", "fip_qos", "gateway_ip_qos"]
    if fwaas.on(layout):
        extensions.append(fwaas.EXTENSION)
    return {
        "DEFAULT": {
            "interface_driver": "onestack_external" if layout.external_bridge else "openvswitch",
        },
        "agent": {"extensions": extensions},
        "ovs": _interface(layout),
        **fwaas.l3_agent(layout),
    }


def _dhcp_agent(layout: Layout) -> Ini:
    return {
        "DEFAULT": {
            "interface_driver": "onestack_dhcp",
            "enable_isolated_metadata": True,
            "dnsmasq_config_file": str(layout.etc / "dnsmasq.conf"),
            "dnsmasq_dns_servers": layout.ctx.facts.resolvers,
        },
        "ovs": _interface(layout),
    }


def _metering_agent(layout: Layout) -> Ini:
    return {
        "DEFAULT": {"driver": "iptables", "interface_driver": "openvswitch"},
        "ovs": _interface(layout),
    }


def _metadata(layout: Layout) -> Ini:
    return {
        "DEFAULT": {
            "nova_metadata_host": layout.ctx.internal,
            "nova_metadata_port": NOVA_METADATA_PORT,
            "metadata_proxy_shared_secret": layout.ctx.secrets["neutron_metadata"],
            # Threads: a guest whose request takes long holds up no other.
            "metadata_workers": 4,
        },
    }


def _ovn_agent(layout: Layout) -> Ini:
    return {
        **_metadata(layout),
        "agent": {"extensions": ("metadata",)},
        "ovs": {"ovsdb_connection": layout.ovsdb},
        "ovn": {"ovn_sb_connection": layout.southbound},
    }
