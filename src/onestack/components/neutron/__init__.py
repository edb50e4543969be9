"""Neutron, the network service: API, workers, and the agents of ML2/OVN or ML2/Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.neutron import config, fwaas, keys, namespaces
from onestack.components.neutron.layout import PORT, Layout
from onestack.components.neutron.undo import UNDO, ensure_noted
from onestack.components.openvswitch import environment
from onestack.database.places import table_file
from onestack.database.upstream_tables import neutron as tables
from onestack.host import sysctl
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.change import Change
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
    Panel,
    Task,
    TempestResources,
)
from onestack.model.findings import Finding, refuse, warn
from onestack.model.ini import Ini
from onestack.model.process import AgentProbe, ApiProbe, NotifyProbe, Process
from onestack.model.root_command import RootCommand
from onestack.model.secret import OF_AGENTS
from onestack.network.backend import l2_agent

BRIDGE_FILTERS = tuple(f"net.bridge.bridge-nf-call-{kind}tables" for kind in ("ip", "ip6"))
"""Without them the chains of security groups see nothing of guests' bridges."""
_RUN = "onestack.components.neutron.inside.run:"
_MIGRATIONS = "neutron/db/migration/alembic_migrations/versions"


class Neutron(Component):
    name = "neutron"
    undo = UNDO
    title = "Network"
    clients = ("neutron",)
    tempest_service = "neutron"
    provides = (Capability("network", ("neutron-api",), port=PORT),)
    roles = OF_AGENTS
    secrets = keys.SECRETS
    keys = keys.KEYS
    features = (fwaas.Firewalls(),)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        agent = str(answers["CONFIG_NEUTRON_L2_AGENT"])
        if agent and self.enabled(answers):
            yield from keys.validate(answers, agent)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        layout = Layout(ctx)
        if not ctx.answers["CONFIG_NEUTRON_L2_AGENT"]:
            reason = l2_agent(ctx.answers, ctx.facts)[1]
            for wrong in keys.validate(ctx.answers, layout.agent):
                yield refuse(
                    f"the answers do not fit {layout.agent}, which carries the networks ({reason})",
                    wrong,
                    "change them, or choose with CONFIG_NEUTRON_L2_AGENT",
                )
        before, known = config.carrier(layout), table_file(ctx.cloud, tables.NETWORKS).exists()
        if known and before not in ("", layout.agent):
            yield refuse(
                f"the networks of this cloud are carried by {before}, and would be by "
                f"{layout.agent} ({l2_agent(ctx.answers, ctx.facts)[1]})",
                f"{layout.agent} would know nothing of the networks, routers and guests' ports "
                "that are there",
                f"stay with --set CONFIG_NEUTRON_L2_AGENT={before}; for {layout.agent}, "
                "destroy the cloud and make it anew",
            )
        for sentence in layout.wiring.borrowed():
            yield warn(sentence)
        if layout.ovn and ctx.answers["CONFIG_NEUTRON_METERING_AGENT_INSTALL"]:
            yield warn(
                "CONFIG_NEUTRON_METERING_AGENT_INSTALL=y has no effect",
                "ovn carries the networks, and nothing counts its routers' traffic",
            )

    def packages(self, ctx: Context) -> Iterable[str]:
        yield from ("haproxy", "iproute2", "iptables", "procps")
        if not Layout(ctx).ovn:
            # dhcp_release is in dnsmasq-utils, gratuitous ARP from iputils-arping
            yield from ("conntrack", "dnsmasq-base", "dnsmasq-utils", "ipset")
            yield from ("iputils-arping", "radvd")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        layout = Layout(ctx)
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
            Layout(ctx).server,
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("neutron", (Endpoint("neutron", "network", PORT, "", "Networks"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("neutron", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        layout = Layout(ctx)
        yield from self._server(layout)
        if layout.ovn:
            yield self._agent(layout, "ovn", "neutron-ovn-agent", ("chassis",))
            return
        metering = ("metering",) if config.metered(layout) else ()
        for name in ("openvswitch", "dhcp", "l3", "metadata", *metering):
            switch = () if name == "metadata" else ("external-bridge",)
            yield self._agent(layout, name, f"neutron-{name}-agent", switch)

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        if ctx.answers["CONFIG_NEUTRON_FWAAS"]:
            yield Panel("neutron_fwaas_dashboard")

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
            "neutron_plugin_options": {
                "firewall_driver": "ovn" if Layout(ctx).ovn else "openvswitch"
            },
        }

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {Layout(ctx).user: tuple(config.PRIVSEP.values())}

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        layout = Layout(ctx)
        return {layout.user: (namespaces.command(layout.namespaces),)}

    def zygote(self, ctx: Context) -> Iterable[str]:
        here = "onestack.components.neutron.inside.preload"
        layout = Layout(ctx)
        more = (f"{here}_fwaas",) if fwaas.on(layout) else ()
        return ("eventlet", here, *more, f"{here}_{layout.agent}")

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
        layout = Layout(ctx)
        yield Task("host", lambda: self._ensure_host(ctx), ("packages",), before_start=True)
        if layout.ovn and not fwaas.on(layout):
            # after the API's start without the service: it would make them again
            yield Task("firewalls", lambda: fwaas.lifted(layout), ("process:neutron-api",))

    def _ensure_host(self, ctx: Context) -> Iterator[Change]:
        layout = Layout(ctx)
        yield from ensure_noted(ctx, layout.namespaces)
        if not layout.ovn and config.firewall(layout) == "iptables_hybrid":
            if not sysctl.path_of(BRIDGE_FILTERS[0]).exists():
                yield Change("load the kernel's module br_netfilter", _load_br_netfilter)
            wanted = dict.fromkeys(BRIDGE_FILTERS, "1")
            yield from sysctl.ensure_sysctl(wanted, Ledger.of(ctx.cloud), ctx.cloud.netns)

    def explain(self, ctx: Context, text: str) -> str | None:
        for sign, sentence in _SIGNS:
            if sign in text:
                return sentence
        return None

    @staticmethod
    def _server(layout: Layout) -> Iterable[Process]:
        ctx = layout.ctx
        # Upstream looks for the paste file beside its other files.
        paste = ctx.release.services.place / "etc" / "neutron" / "api-paste.ini"
        env = {
            "OS_NEUTRON_CONFIG_DIR": str(layout.etc),
            "OS_NEUTRON_CONFIG_FILES": ";".join(map(str, (paste, *layout.server))),
            # Without it upstream believes that there are no API processes, and
            # none of them looks after ports coming up (OVN's hash ring).
            "ASGI_WORKERS": "1",
        }
        if layout.ovn and layout.external_bridge:
            env["ONESTACK_EXTERNAL_NETWORK"] = layout.external_network
        if layout.ovn and layout.datapath == "netdev":
            env["ONESTACK_USERSPACE_DATAPATH"] = "y"
        needs: tuple[str, ...] = ("database", "cache", "messaging")
        groups: tuple[str, ...] = ()
        if layout.ovn:
            # upstream runs ovsdb-client at its start
            env["PATH"] = environment(ctx)["PATH"]
            needs += ("northbound", "southbound")
            groups = (ctx.cloud.user("ovn"),)
        common: dict[str, Any] = {
            "component": "neutron",
            "user": layout.user,
            "env": env,
            "groups": groups,
            "files": tuple(map(str, layout.server)),
            "needs": needs,
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
            arguments={"rpc": not layout.ovn},
            # Agents that ask before it listens wait a minute for an answer that never comes.
            probe=NotifyProbe(),
            stop_seconds=5.0,
            **common,
        )

    @staticmethod
    def _agent(layout: Layout, name: str, binary: str, needs: tuple[str, ...]) -> Process:
        ctx = layout.ctx
        files = tuple(map(str, layout.agent_files(name)))
        run = ctx.cloud.run / "openvswitch"
        env = environment(ctx)
        groups = [ctx.cloud.user("openvswitch")]
        arguments: dict[str, Any] = {"config": list(files)}
        if layout.ovn:
            groups.append(ctx.cloud.user("ovn"))
        else:
            needs += ("messaging", "neutron-workers")
        if name in ("dhcp", "l3") and layout.datapath == "netdev":
            arguments["switch"] = str(run / "ovs-vswitchd.pid")
        if name == "openvswitch":
            arguments["controller"] = ctx.internal
        if name == "l3" and layout.external_bridge:
            env["ONESTACK_EXTERNAL_BRIDGE"] = layout.external_bridge
        return Process(
            name=binary,
            component="neutron",
            user=layout.user,
            run=f"{_RUN}{name}_agent",
            arguments=arguments,
            env=env,
            groups=tuple(groups),
            files=files,
            needs=needs,
            probe=AgentProbe(
                f"http://{ctx.internal}:{PORT}/v2.0/agents",
                (binary,),
                # OVN's agent reports when neutron asks, which it does every 37 s.
                fresh=not layout.ovn,
            ),
            # Upstream's OpenFlow server never ends by itself; the agent keeps nothing
            # that a later start would not find in the switch.
            stop_signal="KILL" if name == "openvswitch" else "TERM",
            stop_seconds=5.0,
        )


def _load_br_netfilter() -> None:
    run(["modprobe", "br_netfilter"], timeout=30)


_SIGNS = (
    (
        "Failed to bind port",
        "the port could not be bound: the network agent of that host is down, or the network's "
        "kind or physical network is unknown to it (`openstack network agent list`)",
    ),
    (
        "the supervisor, which runs commands as root, is away",
        "the supervisor is not running, so dnsmasq and haproxy cannot be started; run up again",
    ),
    (
        "privsep helper command exited non-zero",
        "the supervisor did not start a privsep daemon; its reason is in the supervisor's log "
        "(`onestack logs supervisor`)",
    ),
    (
        "responded with Forbidden",
        "nova and neutron disagree about the secret of the metadata proxy; `onestack up` writes "
        "both files anew",
    ),
    (
        "remote metadata server is temporarily unavailable",
        "nova's metadata API does not answer; see `onestack status nova`",
    ),
    (
        "Unable to open stream to",
        "the Open vSwitch or OVN database does not answer yet; see `onestack status openvswitch`",
    ),
    (
        "Tunneling can't be enabled with invalid local_ip",
        "the address of this host's end of tunnels is on no interface; check "
        "CONFIG_NEUTRON_OVS_TUNNEL_IF",
    ),
    (
        "cannot be applied",
        "iptables or conntrack refused the rules of a firewall group in its router's namespace, "
        "and says why in the lines after this; `onestack restart neutron/neutron-l3-agent` makes "
        "all groups' rules anew",
    ),
    (
        "Failed to create_firewall_group_postcommit",
        "OVN did not take a firewall group's rules, and the group was not made; see `onestack "
        "status ovn`, then create it again",
    ),
    (
        "cannot be the switch's controller",
        "an agent of an earlier start still runs, or another program has the port 6633",
    ),
    (
        "Bridge br-ex for physical network",
        "the external bridge is missing; `onestack up` makes it",
    ),
)
"""What may stand in a log line, and its likely cause with the cure."""
