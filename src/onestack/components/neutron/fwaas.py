"""FWaaS: firewall groups on the ports of routers, a service plugin of neutron's.

With OVN the rules are access lists on the router's port; with Open vSwitch
they are iptables rules in the router's namespace, made by an extension of the
layer 3 agent. The drivers are ours, over upstream's: `fwaas_ovn` and
`fwaas_iptables` say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.components.mariadb import table_file
from onestack.components.neutron.layout import Layout
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
TABLES = (
    "firewall_group_port_associations_v2",
    "firewall_policy_rule_associations_v2",
    "default_firewall_groups",
    "firewall_groups_v2",
    "firewall_policies_v2",
    "firewall_rules_v2",
)
"""All that its migrations leave in neutron's database; what refers to another comes first."""
_RESOURCES = ("firewall_group", "firewall_policy", "firewall_rule")
_VERSION = "alembic_version_fwaas"
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
            table=_VERSION,
        )

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (table_file(ctx, "neutron", TABLES[0]),)

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
    from onestack.components.mariadb.sql import connect

    cloud = layout.ctx.cloud
    with connect(cloud, "neutron") as database, database.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        present = {str(row[0]) for row in cursor.fetchall()}
    # One after the other they go, also in a crash: the version first, so that a new schema is
    # made, and last the table by which it is seen that something is left.
    if not (tables := [name for name in (_VERSION, *reversed(TABLES)) if name in present]):
        return

    def drop() -> None:
        with connect(cloud, "neutron") as database, database.cursor() as cursor:
            # Rows first: interrupted, the tables are still there to be found.
            for name in (table for table in TABLES if table in present):
                cursor.execute(f"DELETE FROM `{name}`")
            cursor.execute("DELETE FROM standardattributes WHERE resource_type IN %s", (TABLES,))
            cursor.execute("DELETE FROM quotas WHERE resource IN %s", (_RESOURCES,))
            database.commit()
            names = ", ".join(f"`{name}`" for name in tables)
            cursor.execute(f"SET STATEMENT foreign_key_checks = 0 FOR DROP TABLE {names}")

    yield Change(f"drop {len(tables)} tables of firewall groups in neutron's database", drop)
