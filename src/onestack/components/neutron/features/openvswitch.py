"""ML2/Open vSwitch: an agent for the switches, others for routers, DHCP and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.components.neutron import keys, untagged
from onestack.components.neutron.features.mechanism import (
    EVERYWHERE,
    GATEWAY,
    Mechanism,
    agent,
    agent_config,
    external_network,
    metadata,
    time_servers,
)
from onestack.components.neutron.layout import DNS_DOMAIN, Layout
from onestack.host import sysctl
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, KnownError, Scope, Task
from onestack.model.ini import Ini, Value
from onestack.model.process import Process
from onestack.network.bridges import Bridges

BRIDGE_FILTERS = tuple(f"net.bridge.bridge-nf-call-{kind}tables" for kind in ("ip", "ip6"))
"""Without them the chains of security groups see nothing of guests' bridges."""
BUS = ("messaging", "neutron-workers")
"""What each agent needs: it asks the workers when it starts."""
SWITCH_OPTIONS = "neutron.ml2.ovs.agent"
TUNNELS = ("gre", "vxlan", "geneve")


class OpenVswitch(Mechanism):
    name = "openvswitch"
    title = "Networks of Open vSwitch and its agents"
    router = "router"
    agents_by_bus = True
    project_types = ("vxlan",)
    provides = (Capability("integration", ("neutron-openvswitch-agent",)),)
    known_errors = (
        KnownError(
            "Tunneling can't be enabled with invalid local_ip",
            "the address of this host's end of tunnels is on no interface",
            "check CONFIG_NEUTRON_OVS_TUNNEL_IF",
        ),
        KnownError(
            "cannot be the switch's controller",
            "an agent of an earlier start still runs, or another program has the port 6633",
        ),
    )

    def packages(self, ctx: Context) -> Iterable[str]:
        # dhcp_release is in dnsmasq-utils, gratuitous ARP from iputils-arping
        yield from ("conntrack", "dnsmasq-base", "dnsmasq-utils", "ipset")
        yield from ("iputils-arping", "radvd")

    def started(self, ctx: Context) -> Iterable[str]:
        yield from ("dnsmasq", "radvd")

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        answers = ctx.answers
        sections: Ini = {
            "ml2": {"mechanism_drivers": ("onestack_external_agents",)},
            "securitygroup": {"firewall_driver": firewall_driver(ctx)},
            "ml2_type_vxlan": {
                "vni_ranges": answers["CONFIG_NEUTRON_ML2_VNI_RANGES"],
                "vxlan_group": str(answers["CONFIG_NEUTRON_ML2_VXLAN_GROUP"]),
            },
        }
        if "gre" in keys.network_types(answers, self.name):
            ranges = answers["CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES"]
            sections["ml2_type_gre"] = {"tunnel_id_ranges": ranges}
        if "geneve" in keys.network_types(answers, self.name):
            ranges = answers["CONFIG_NEUTRON_ML2_VNI_RANGES"]
            sections["ml2_type_geneve"] = {"vni_ranges": ranges}
        return {ctx.once(Layout).ml2: sections}

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        layout = ctx.once(Layout)
        dnsmasq = layout.etc / "dnsmasq.conf"
        yield agent_config(ctx, "openvswitch", self._switch_agent(ctx), SWITCH_OPTIONS)
        l3, dhcp, asked = _l3_agent(ctx), _dhcp_agent(ctx, dnsmasq), {"DEFAULT": metadata(ctx)}
        for name, sections, namespaces in (
            ("l3", l3, ("neutron.l3.agent", "firewall.agent")),
            ("dhcp", dhcp, ("neutron.dhcp.agent",)),
            ("metadata", asked, ("neutron.metadata.agent",)),
        ):
            yield agent_config(ctx, name, sections, *namespaces, SWITCH_OPTIONS, roles=GATEWAY)
        # dnsmasq is started as root and would become "nobody", whom ROOT shuts out.
        text = f"user={layout.user}\ngroup={layout.user}\n"
        # What is not known of guests' own names, such as an address of the other kind, nobody
        # outside knows either: asked there, a guest without an outside waits for seconds.
        text += f"domain-needed\nlocal=/{DNS_DOMAIN}/\n"
        if servers := time_servers(ctx):
            text += f"dhcp-option=option:ntp-server,{','.join(servers)}\n"
        yield ConfigFile(dnsmasq, text, layout.user, roles=frozenset(GATEWAY))

    def processes(self, ctx: Context) -> Iterable[Process]:
        bridges = ctx.once(Bridges)
        # Upstream's OpenFlow server never ends by itself; the agent keeps nothing that a
        # later start would not find in the switch.
        yield agent(
            ctx,
            "openvswitch",
            ("external-bridge", *BUS),
            arguments={"controller": ctx.internal},
            watched=(untagged.note(ctx),),
            stop_signal="KILL",
            roles=EVERYWHERE,
        )
        # In a userspace datapath the ports of these are gone when the switch starts anew.
        watched: dict[str, Any] = {}
        if bridges.datapath == "netdev":
            watched["switch"] = str(ctx.cloud.run / "openvswitch" / "ovs-vswitchd.pid")
        legs = {"ONESTACK_EXTERNAL_BRIDGE": bridges.external} if bridges.external else {}
        legs |= external_network(ctx)
        wired = ("external-bridge", *BUS)
        yield agent(ctx, "dhcp", wired, arguments=watched, roles=GATEWAY)
        yield agent(ctx, "l3", wired, arguments=watched, env=legs, roles=GATEWAY)
        yield agent(ctx, "metadata", BUS, roles=GATEWAY)

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("onestack.components.neutron.inside.preload_openvswitch",)

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task(
            "external",
            lambda: untagged.ensure_led(ctx),
            ("database:neutron",),
            before_start=True,
            scope=Scope.CLOUD,
        )
        if firewall_driver(ctx) == "iptables_hybrid":
            yield Task(
                "bridge-filters", lambda: _ensure_filters(ctx), ("packages",), before_start=True
            )

    def _switch_agent(self, ctx: Context) -> Ini:
        bridges, answers = ctx.once(Bridges), ctx.answers
        types = keys.network_types(answers, self.name)
        return {
            "ovs": {
                "ovsdb_connection": ctx.at("switch").target,
                "integration_bridge": bridges.integration,
                "tunnel_bridge": bridges.tunnel,
                "bridge_mappings": tuple(f"{n}:{b}" for n, b in bridges.all_mappings.items()),
                # loopback until another host could be at the other end
                "local_ip": bridges.tunnel_address or "127.0.0.1",
                "datapath_type": bridges.datapath,
                "of_listen_address": ctx.internal,
            },
            "agent": {
                "tunnel_types": tuple(kind for kind in types if kind in TUNNELS),
                "vxlan_udp_port": int(answers["CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT"]),
                "l2_population": "l2population" in answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"],
                "extensions": ("qos",),
            },
            "securitygroup": {
                "enable_security_group": True,
                "firewall_driver": firewall_driver(ctx),
                "enable_ipset": True,
            },
        }


def firewall_driver(ctx: Context) -> str:
    """The kernel's conntrack does security groups where the datapath has none to trust."""
    return "iptables_hybrid" if ctx.once(Bridges).datapath == "netdev" else "openvswitch"


def interface(ctx: Context) -> dict[str, Value]:
    """Options of ``ovs`` for agents that plug ports of their own."""
    bridges = ctx.once(Bridges)
    return {
        "ovsdb_connection": ctx.at("switch").target,
        "integration_bridge": bridges.integration,
        "datapath_type": bridges.datapath,
    }


def _l3_agent(ctx: Context) -> Ini:
    own = bool(ctx.once(Bridges).external)
    return {
        "DEFAULT": {"interface_driver": "onestack_external" if own else "openvswitch"},
        "agent": {"extensions": ("port_forwarding", "fip_qos", "gateway_ip_qos")},
        "ovs": interface(ctx),
    }


def _dhcp_agent(ctx: Context, dnsmasq: Path) -> Ini:
    return {
        "DEFAULT": {
            "interface_driver": "onestack_dhcp",
            "enable_isolated_metadata": True,
            "dnsmasq_config_file": str(dnsmasq),
            "dnsmasq_dns_servers": ctx.facts.resolvers,
        },
        "ovs": interface(ctx),
    }


def _ensure_filters(ctx: Context) -> Iterator[Change]:
    if not sysctl.path_of(BRIDGE_FILTERS[0]).exists():
        yield Change("load the kernel's module br_netfilter", _load_br_netfilter)
    wanted = dict.fromkeys(BRIDGE_FILTERS, "1")
    yield from sysctl.ensure_sysctl(wanted, Ledger.of(ctx.cloud), ctx.cloud.netns, shared=True)


def _load_br_netfilter() -> None:
    run(["modprobe", "br_netfilter"], timeout=30)
