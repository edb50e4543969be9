"""FWaaS: firewall groups on the ports of routers, a service plugin of neutron's.

With OVN the rules are access lists on the router's port; with Open vSwitch
they are iptables rules in the router's namespace, made by an extension of the
layer 3 agent. The drivers are ours, over upstream's: `inside.fwaas_ovn` and
`inside.fwaas_iptables` say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from onestack.components.neutron import keys
from onestack.components.neutron.layout import Layout
from onestack.database.places import table_file
from onestack.database.upstream_tables import neutron as tables
from onestack.host.command import run
from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import Database, KnownError, Panel
from onestack.model.ini import Ini
from onestack.network.bridges import Bridges

_MARK = '"neutron:firewall_group_id"'
_HERE = "onestack.components.neutron.inside."
_VERSIONS = "neutron_fwaas/db/migration/alembic_migrations/versions"


class Firewalls(Feature):
    """The plugin and its tables."""

    name = "fwaas"
    title = "Firewall groups"

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers[keys.FWAAS])

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        return {ctx.once(Layout).neutron_conf: {"DEFAULT": {"service_plugins": ("firewall_v2",)}}}

    def databases(self, ctx: Context) -> Iterable[Database]:
        """Tables beside neutron's own, which some of them refer to."""
        yield Database(
            "neutron_fwaas",
            "neutron",
            f"{_HERE}jobs:sync_fwaas",
            (_VERSIONS,),
            ctx.once(Layout).server,
            within="neutron",
            table=tables.FIREWALL_VERSION,
        )

    def zygote(self, ctx: Context) -> Iterable[str]:
        return (f"{_HERE}preload_fwaas",)

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("neutron_fwaas_dashboard")

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (table_file(ctx.cloud, tables.FIREWALL_SIGN),)

    def purge(self, ctx: Context) -> Iterator[Change]:
        return removed(ctx)


class OvnFirewalls(Feature):
    """Groups as access lists of OVN's."""

    name = "fwaas-ovn"
    title = "Firewall groups in OVN"
    known_errors = (
        KnownError(
            "Failed to create_firewall_group_postcommit",
            "OVN did not take a firewall group's rules, and the group was not made",
            "see `onestack status ovn`, then create it again",
        ),
    )

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers[keys.FWAAS]) and ctx.once(Bridges).agent == "ovn"

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        return {ctx.once(Layout).neutron_conf: _provider("ovn", "fwaas_ovn")}


class AgentFirewalls(Feature):
    """Groups as iptables rules of the layer 3 agent's."""

    name = "fwaas-l3"
    title = "Firewall groups in routers' namespaces"
    known_errors = (
        KnownError(
            "cannot be applied",
            "iptables or conntrack refused the rules of a firewall group in its router's "
            "namespace, and says why in the lines after this",
            "`onestack restart neutron/neutron-l3-agent` makes all groups' rules anew",
        ),
    )

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers[keys.FWAAS]) and ctx.once(Bridges).agent == "openvswitch"

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        layout = ctx.once(Layout)
        return {
            layout.neutron_conf: _provider("openvswitch", "fwaas_agents"),
            layout.agent_file("l3"): {
                "agent": {"extensions": ("fwaas_v2",)},
                "fwaas": {"enabled": True, "driver": f"{_HERE}fwaas_iptables.Driver"},
            },
        }


def _provider(name: str, module: str) -> Ini:
    provider = f"FIREWALL_V2:{name}:{_HERE}{module}.Driver:default"
    return {"service_providers": {"service_provider": provider}}


def lifted(ctx: Context) -> Iterator[Change]:
    """With the service off: no group that OVN still enforces.

    They come back when it is on again. The agent of layer 3 needs no help: it
    makes its rules anew when it starts.
    """
    tool = [str(ctx.cloud.bin / "ovn-nbctl"), "--timeout=20"]
    question = ["--bare", "--columns=name", "find", "Port_Group"]
    found = run([*tool, *question, f"external_ids:{_MARK}!=[]"], timeout=30)
    if groups := found.out.split():

        def lift() -> None:
            run([*tool, *(word for name in groups for word in ("--", "pg-del", name))], timeout=30)

        yield Change(f"lift {len(groups)} firewall groups: {keys.FWAAS} is n", lift)


def removed(ctx: Context) -> Iterator[Change]:
    """Switched off for good: no table of its own in neutron's database, nor a row about one.

    By then `lifted`, or the agent, has seen to it that no group is in force.
    """
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of

    server = server_of(ctx)
    if present := tables.firewall_tables(server):
        yield Change(
            f"drop {len(present)} tables of firewall groups in neutron's database",
            lambda: tables.drop_firewall_tables(server, present),
        )
