"""Neutron, the network service: API and workers; agents and more come with its `features`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.neutron import config, keys, namespaces, untagged
from onestack.components.neutron.features import FEATURES, mechanism_of, metering
from onestack.components.neutron.known_errors import KNOWN_ERRORS
from onestack.components.neutron.layout import PORT, Layout
from onestack.components.neutron.undo import UNDO, ensure_noted
from onestack.database.places import table_file
from onestack.database.upstream_tables import neutron as tables
from onestack.host import shaping
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Identity,
    Task,
    TempestResources,
)
from onestack.model.findings import Finding, refuse, warn
from onestack.model.host import Role
from onestack.model.ini import Ini
from onestack.model.process import ApiProbe, NotifyProbe, Process
from onestack.model.root_command import RootCommand
from onestack.model.secret import OF_AGENTS
from onestack.network.backend import UNDECIDED
from onestack.network.bridges import Bridges

_RUN = "onestack.components.neutron.inside.run:"
_MIGRATIONS = "neutron/db/migration/alembic_migrations/versions"


class Neutron(Component):
    name = "neutron"
    undo = UNDO
    title = "Network"
    clients = ("neutron",)
    meters = ("ip.floating",)
    tempest_service = "neutron"
    tempest_plugin = "neutron_tempest_plugin"
    provides = (Capability("network", ("neutron-api",), port=PORT),)
    roles = OF_AGENTS
    secrets = keys.SECRETS
    keys = keys.KEYS
    features = FEATURES
    known_errors = KNOWN_ERRORS

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        agent = str(answers["CONFIG_NEUTRON_L2_AGENT"])
        if agent and self.enabled(answers):
            yield from keys.validate(answers, agent)

    def remarks(self, answers: Answers) -> Iterable[str]:
        agent = str(answers["CONFIG_NEUTRON_L2_AGENT"])
        if agent and self.enabled(answers):
            yield from keys.remarks(answers, agent)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        bridges = ctx.once(Bridges)
        agent, reason = bridges.agent, bridges.reason
        if not ctx.answers["CONFIG_NEUTRON_L2_AGENT"]:
            for wrong in keys.validate(ctx.answers, agent):
                yield refuse(
                    f"the answers do not fit {agent}, which carries the networks ({reason})",
                    wrong,
                    "change them, or choose with CONFIG_NEUTRON_L2_AGENT",
                )
            for remark in keys.remarks(ctx.answers, agent):
                yield warn(remark)
        before, known = config.carrier(ctx), table_file(ctx.cloud, tables.NETWORKS).exists()
        if known and before not in ("", agent):
            yield refuse(
                f"the networks of this cloud are carried by {before}, and would be by "
                f"{agent} ({reason})",
                f"{agent} would know nothing of the networks, routers and guests' ports "
                "that are there",
                f"stay with --set CONFIG_NEUTRON_L2_AGENT={before}; for {agent}, "
                "destroy the cloud and make it anew",
            )
        if reason == UNDECIDED:
            yield warn(
                "whether ovn or openvswitch carries the networks is not known yet",
                reason,
                "it is decided once Open vSwitch is installed; to know it before: apt-get update, "
                "or --set CONFIG_NEUTRON_L2_AGENT=ovn or =openvswitch",
            )
        for sentence in bridges.wiring.borrowed():
            yield warn(sentence)
        if ctx.answers[metering.INSTALL] and not metering.Metering().on(ctx):
            yield warn(
                f"{metering.INSTALL}=y has no effect",
                f"{agent} carries the networks, and nothing counts its routers' traffic",
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.database.server import server_of

        # OVN's switch leads out and limits by itself; agents ask the kernel.
        if not mechanism_of(ctx).agents_by_bus:
            return
        server = server_of(ctx)
        yield from untagged.unled(ctx, tables.untagged_networks(server))
        limits = tables.bandwidth_limits(server)
        if limits and (missing := list(shaping.unlimited())):
            yield refuse(
                f"{limits} limits of bandwidth are set, and none is kept of {', '.join(missing)}",
                f"this machine's kernel lacks one of {shaping.MODULES}",
                "modprobe -a act_police cls_basic cls_u32 sch_htb, then onestack restart neutron; "
                "or networks of OVN, which need none of them",
            )

    def packages(self, ctx: Context) -> Iterable[str]:
        yield from ("haproxy", "iproute2", "iptables", "procps")

    def started(self, ctx: Context) -> Iterable[str]:
        # each network's metadata, or each router's
        yield "haproxy"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        layout = ctx.once(Layout)
        yield Directory(layout.temporary.parent, "root", layout.user, 0o770)
        yield Directory(layout.namespaces, "root", "root", 0o700)
        for path in (layout.state, layout.state / "lock"):
            yield Directory(path, layout.user, layout.user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        return config.files(ctx)

    def databases(self, ctx: Context) -> Iterable[Database]:
        services = ctx.release.services
        # One folder per release and branch; the database has a head of each branch.
        folders = sorted({file.parent for file in services.path(_MIGRATIONS).rglob("*.py")})
        yield Database(
            "neutron",
            "neutron",
            "onestack.components.neutron.inside.jobs:sync",
            tuple(str(folder.relative_to(services.site_packages)) for folder in folders),
            ctx.once(Layout).server,
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("neutron", (Endpoint("neutron", "network", PORT, "", "Networks"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("neutron", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        return _server(ctx)

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "network": {
                "public_network_id": found.public_network,
                "floating_network_name": found.public_network_name,
                "region": openstack.region(ctx),
            },
            "network-feature-enabled": {
                "api_extensions": found.extensions,
                "ipv6_subnet_attributes": True,
                "port_security": "port-security" in found.extensions,
            },
            "neutron_plugin_options": config.tested(ctx),
            "enforce_scope": {"neutron": True},
        }

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {ctx.once(Layout).user: tuple(config.PRIVSEP.values())}

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        layout = ctx.once(Layout)
        return {layout.user: (namespaces.command(layout.namespaces),)}

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("eventlet", "onestack.components.neutron.inside.preload")

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "alembic",
            "onestack.runtime.messaging",
            # Not neutron_lib: it listens to the database sessions of all who have it.
            "os_traits",
            "oslo_db.api",
            "netaddr",
            "ovs.db.idl",
            "ovsdbapp.backend.ovs_idl.connection",
            "oslo_privsep.daemon",
            "pecan",
            "psutil",
            "pyroute2",
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        notes = ctx.once(Layout).namespaces
        yield Task("host", lambda: ensure_noted(ctx, notes), ("packages",), before_start=True)


def _server(ctx: Context) -> Iterable[Process]:
    """The API, and what works beside it."""
    layout, chosen = ctx.once(Layout), mechanism_of(ctx)
    # Upstream looks for the paste file beside its other files.
    paste = ctx.release.services.place / "etc" / "neutron" / "api-paste.ini"
    common: dict[str, Any] = {
        "component": "neutron",
        "user": layout.user,
        "env": {
            "OS_NEUTRON_CONFIG_DIR": str(layout.etc),
            "OS_NEUTRON_CONFIG_FILES": ";".join(map(str, (paste, *layout.server))),
            # Without it upstream believes that there are no API processes, and
            # none of them looks after ports coming up (OVN's hash ring).
            "ASGI_WORKERS": "1",
            **chosen.server_environment(ctx),
        },
        "groups": chosen.server_groups(ctx),
        "files": tuple(map(str, layout.server)),
        "needs": ("database", "cache", "messaging", *chosen.server_needs),
        "roles": (Role.CONTROLLER,),
    }
    yield Process(
        name="neutron-api",
        run=f"{_RUN}api",
        arguments={"temporary": str(layout.temporary)},
        sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
        probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v2.0/networks?limit=1"),
        **common,
    )
    yield Process(
        name="neutron-workers",
        run=f"{_RUN}workers",
        arguments={"rpc": chosen.agents_by_bus},
        # Agents that ask before it listens wait a minute for an answer that never comes.
        probe=NotifyProbe(),
        stop_seconds=5.0,
        **common,
    )
