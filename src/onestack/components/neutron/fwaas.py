"""FWaaS: firewall groups on the ports of routers, a service plugin of neutron's.

With OVN the rules are access lists on the router's port; with Open vSwitch
they are iptables rules in the router's namespace, made by an extension of the
layer 3 agent. The drivers are ours, over upstream's: `fwaas_ovn` and
`fwaas_iptables` say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.components.neutron.layout import Layout
from onestack.database.places import table_file
from onestack.database.upstream_tables import neutron as tables
from onestack.host.command import run
from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import Database
from onestack.model.ini import Ini
from onestack.model.key import Key, Kind

INSTALL = "CONFIG_NEUTRON_FWAAS"
KEY = Key(
    INSTALL,
    "n",
    "Firewall groups on the ports of routers (FWaaS, version 2).",
    Kind.FLAG,
)
PLUGIN = "firewall_v2"
EXTENSION = "fwaas_v2"
"""Of the layer 3 agent."""
_MARK = '"neutron:firewall_group_id"'
_HERE = "onestack.components.neutron.inside."
_VERSIONS = "neutron_fwaas/db/migration/alembic_migrations/versions"


def on(layout: Layout) -> bool:
    return bool(layout.ctx.answers[INSTALL])


class Firewalls(Feature):
    name = "fwaas"
    title = "Firewall groups"

    def on(self, ctx: Context) -> bool:
        return on(Layout(ctx))

    def databases(self, ctx: Context) -> Iterable[Database]:
        """Tables beside neutron's own, which some of them refer to."""
        yield Database(
            "neutron_fwaas",
            "neutron",
            f"{_HERE}jobs:sync_fwaas",
            (_VERSIONS,),
            Layout(ctx).server,
            within="neutron",
            table=tables.FIREWALL_VERSION,
        )

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (table_file(ctx.cloud, tables.FIREWALL_SIGN),)

    def purge(self, ctx: Context) -> Iterator[Change]:
        return removed(Layout(ctx))


def server(layout: Layout) -> Ini:
    """Sections of ``neutron.conf``."""
    if not on(layout):
        return {}
    driver = "fwaas_ovn.Driver" if layout.ovn else "fwaas_agents.Driver"
    provider = f"FIREWALL_V2:{layout.agent}:{_HERE}{driver}:default"
    return {"service_providers": {"service_provider": provider}}


def l3_agent(layout: Layout) -> Ini:
    """Sections of ``l3_agent.ini``."""
    if not on(layout):
        return {}
    return {"fwaas": {"enabled": True, "driver": f"{_HERE}fwaas_iptables.Driver"}}


def lifted(layout: Layout) -> Iterator[Change]:
    """With the service off: no group that OVN still enforces.

    They come back when it is on again. The agent of layer 3 needs no help: it
    makes its rules anew when it starts.
    """
    tool = [str(layout.ctx.cloud.bin / "ovn-nbctl"), "--timeout=20"]
    question = ["--bare", "--columns=name", "find", "Port_Group"]
    found = run([*tool, *question, f"external_ids:{_MARK}!=[]"], timeout=30)
    if groups := found.out.split():

        def lift() -> None:
            run([*tool, *(word for name in groups for word in ("--", "pg-del", name))], timeout=30)

        yield Change(f"lift {len(groups)} firewall groups: {INSTALL} is n", lift)


def removed(layout: Layout) -> Iterator[Change]:
    """Switched off for good: no table of its own in neutron's database, nor a row about one.

    By then `lifted`, or the agent, has seen to it that no group is in force.
    """
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of

    server = server_of(layout.ctx)
    if present := tables.firewall_tables(server):
        yield Change(
            f"drop {len(present)} tables of firewall groups in neutron's database",
            lambda: tables.drop_firewall_tables(server, present),
        )
