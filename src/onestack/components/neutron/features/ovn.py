"""ML2/OVN: OVN's flows are the switches, routers and DHCP; one agent serves metadata."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from onestack.components import hosts
from onestack.components.neutron import keys
from onestack.components.neutron.features import fwaas
from onestack.components.neutron.features.mechanism import (
    Mechanism,
    agent,
    agent_config,
    external_network,
    metadata,
    time_servers,
)
from onestack.components.neutron.layout import Layout
from onestack.database.upstream_tables import neutron as tables
from onestack.host.command import run
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Scope, Task
from onestack.model.ini import Ini, Value
from onestack.model.process import Process
from onestack.network.bridges import Bridges
from onestack.network.distribution import environment


class OvnMechanism(Mechanism):
    name = "ovn"
    title = "Networks of OVN"
    router = "ovn-router"
    agents_by_bus = False
    project_types = ("geneve",)
    provides = (Capability("integration", ("neutron-ovn-agent",)),)
    server_needs = ("northbound", "southbound")

    def server_groups(self, ctx: Context) -> tuple[str, ...]:
        return (ctx.at("northbound").group,)

    def server_environment(self, ctx: Context) -> Mapping[str, str]:
        found = external_network(ctx)
        if ctx.once(Bridges).datapath == "netdev":
            found["ONESTACK_USERSPACE_DATAPATH"] = "y"
        # upstream runs ovsdb-client at its start
        return {**found, "PATH": environment(ctx)["PATH"]}

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        bridges = ctx.once(Bridges)
        ovn: dict[str, Value] = {
            "ovn_nb_connection": ctx.at("northbound").target,
            "ovn_sb_connection": ctx.at("southbound").target,
            "ovn_metadata_enabled": True,
            # The maintenance worker mends differences by revision numbers in any case; a
            # comparison of everything would be made at each of its starts.
            "neutron_sync_mode": "off",
            "dns_servers": ctx.facts.resolvers or ("0.0.0.0",),
            # A packet passes connection tracking a few times only (6) in a userspace datapath;
            # from one floating IP to another it would be more, with translation in there too.
            "stateless_nat_enabled": bridges.datapath == "netdev",
            # A guest asks for a neighbour's address of either kind: that there is none of one
            # kind is answered at once, where an outside would be waited for.
            "dns_records_ovn_owned": True,
        }
        if servers := time_servers(ctx):
            ovn["ovn_dhcp4_global_options"] = f"ntp_server:{';'.join(servers)}"
        return {
            ctx.once(Layout).ml2: {
                "ml2": {"mechanism_drivers": ("onestack_external",)},
                "ml2_type_geneve": {
                    "vni_ranges": ctx.answers["CONFIG_NEUTRON_ML2_VNI_RANGES"],
                    "max_header_size": 38,
                },
                "ovn": ovn,
            }
        }

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        sections: Ini = {
            "DEFAULT": metadata(ctx),
            "agent": {"extensions": ("metadata",)},
            "ovs": {"ovsdb_connection": ctx.at("switch").target},
            "ovn": _southbound(ctx),
        }
        yield agent_config(ctx, "ovn", sections, "neutron.ml2.ovn.agent")

    def processes(self, ctx: Context) -> Iterable[Process]:
        # It reports when neutron asks, which it does every 37 s.
        group = hosts.own(ctx).group if ctx.joined else ctx.at("southbound").group
        yield agent(ctx, "ovn", ("chassis",), groups=(group,), fresh=False)

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("onestack.components.neutron.inside.preload_ovn",)

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task(
            "external",
            lambda: _ensure_named(ctx),
            ("database:neutron", "capability:northbound"),
            before_start=True,
            scope=Scope.CLOUD,
        )
        if ctx.offers(hosts.DOOR):
            # Imported late: answers and checks run where only the standard library is.
            from onestack.components.neutron.departed import ensure_departed

            yield Task(
                "departed",
                lambda: ensure_departed(ctx),
                ("process:neutron-api", f"capability:{hosts.DOOR}"),
                scope=Scope.CLOUD,
            )
        if not ctx.answers[keys.FWAAS]:
            # after the API's start without the service: it would make them again
            yield Task(
                "firewalls",
                lambda: fwaas.lifted(ctx),
                ("process:neutron-api",),
                scope=Scope.CLOUD,
            )


def _southbound(ctx: Context) -> dict[str, Value]:
    """Where the agent finds the database, and what it shows there."""
    if not ctx.joined:
        return {"ovn_sb_connection": ctx.at("southbound").target}
    tls = hosts.own(ctx)
    return {
        "ovn_sb_connection": f"ssl:{ctx.at('southbound-hosts')}",
        "ovn_sb_private_key": str(tls.key),
        "ovn_sb_certificate": str(tls.certificate),
        "ovn_sb_ca_cert": str(tls.ca),
    }


def _ensure_named(ctx: Context) -> Iterator[Change]:
    """Local networks know the external bridge's physical network by its name of today."""
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of

    bridges, server = ctx.once(Bridges), server_of(ctx)
    name = bridges.external_network
    tool = [str(ctx.cloud.bin / "ovn-nbctl"), "--timeout=20"]

    def lead(network: tables.Untagged) -> None:
        # as upstream calls a segment's port to the outside
        port = ("Logical_Switch_Port", f"provnet-{network.segment}")
        options = f"options:network_name={name}"
        run([*tool, "--", "--if-exists", "set", *port, options], timeout=30)
        tables.lead(server, network.identity, name)

    for network in tables.untagged_networks(server) if bridges.external else ():
        local = network.kind == "local" and network.external
        if local and network.physical not in ("", name):
            yield Change(
                f"lead the external network {network.name} to {bridges.external}, now {name}",
                functools.partial(lead, network),
            )
