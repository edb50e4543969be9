"""OVN: northbound and southbound databases, northd, and this machine's controller."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

from onestack.answers.values import Answers
from onestack.components import hosts
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Directory, Scope, Task
from onestack.model.host import Network, Role
from onestack.model.process import ExecProbe, Probe, Process
from onestack.model.secret import OF_AGENTS, Secret
from onestack.network.bridges import Bridges
from onestack.network.distribution import distribution, environment
from onestack.network.ovsdb import QUIET, answers, as_user, prepare, shared
from onestack.network.tools import tools

HOSTS = 6642
"""Where other hosts reach the southbound database, by their certificates, on loopback: the door
leads them there."""
TOOLS = ("ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-trace")
_DATABASES = ("ovn-nb-ovsdb", "ovn-sb-ovsdb")
_CENTRAL = (Role.CONTROLLER,)
_GATEWAY = (Role.GATEWAY,)
_CHASSIS = (Role.COMPUTE, Role.GATEWAY)


class Daemons(Feature):
    """All of it, while OVN carries the cloud's networks."""

    name = "daemons"
    title = "OVN"
    provides = (
        Capability("northbound", ("ovn-nb-ovsdb",), socket="ovn/ovnnb_db.sock", group="ovn"),
        Capability("southbound", ("ovn-sb-ovsdb",), socket="ovn/ovnsb_db.sock", group="ovn"),
        Capability("southbound-hosts", ("ovn-sb-ovsdb",), port=HOSTS),
        Capability("chassis", ("ovn-controller",)),
    )

    def on(self, ctx: Context) -> bool:
        return ctx.once(Bridges).agent == "ovn"

    def packages(self, ctx: Context) -> Iterable[str]:
        return () if distribution(ctx).tree else ("ovn-central", "ovn-host")

    def users(self, ctx: Context) -> Iterable[str]:
        return (ctx.cloud.user("ovn"),)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user("ovn")
        yield Directory(ctx.cloud.data / "ovn", user, user, 0o750)
        # members of the group reach the databases
        yield Directory(ctx.cloud.run / "ovn", user, user, 0o2750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        return tools(ctx, TOOLS)

    def tasks(self, ctx: Context) -> Iterable[Task]:
        if _for_hosts(ctx):
            # Imported late: answers and checks run where only the standard library is.
            from onestack.components.ovn.departed import ensure_departed
            from onestack.components.ovn.southbound import ensure_certificate

            needs = (f"capability:{hosts.AUTHORITY}",)
            yield Task("certificate", lambda: ensure_certificate(ctx), needs, before_start=True)
            yield Task(
                "departed",
                lambda: ensure_departed(ctx, _identity(ctx)),
                ("capability:southbound", f"capability:{hosts.DOOR}"),
                scope=Scope.CLOUD,
            )

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield from _databases(ctx)
        yield _northd(ctx)
        yield _controller(ctx)


class Ovn(Component):
    name = "ovn"
    title = "OVN"
    features = (Daemons(),)
    roles = OF_AGENTS
    secrets = (Secret("chassis"),)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def users(self, ctx: Context) -> Iterable[str]:
        return ()


def _databases(ctx: Context) -> Iterator[Process]:
    made, user = distribution(ctx), ctx.cloud.user("ovn")
    run = ctx.cloud.run / "ovn"
    for short, name in zip(("nb", "sb"), _DATABASES, strict=True):
        path = ctx.cloud.data / "ovn" / f"ovn{short}.db"
        yield Process(
            name=name,
            component="ovn",
            user=user,
            argv=shared(
                made.program("ovsdb-server"),
                str(path),
                f"--remote=punix:{run}/ovn{short}_db.sock",
                *(_for_hosts(ctx) if short == "sb" else ()),
                f"--unixctl={run}/ovn{short}_db.ctl",
                f"--pidfile={run}/ovn{short}_db.pid",
                *QUIET,
            ),
            env=_environment(ctx),
            prepare=(prepare(ctx, path, f"ovn-{short}", user),),
            probe=answers(f"{run}/ovn{short}_db.sock"),
            roles=_CENTRAL,
        )


def _for_hosts(ctx: Context) -> tuple[str, ...]:
    """A chassis elsewhere writes what is its own, which it is known by its certificate for."""
    if not ctx.offers(hosts.AUTHORITY) or ctx.joined:
        return ()
    return ("--remote=db:OVN_Southbound,SB_Global,connections", *hosts.southbound(ctx).of_ovs)


def _connection(ctx: Context) -> tuple[tuple[str, ...], ...]:
    """The words for ovn-sbctl that tell the database where to listen for hosts."""
    if not _for_hosts(ctx):
        return ()
    place = f"pssl:{HOSTS}:{ctx.internal}"
    # Both ends ask whether the other is there; a host that went is forgotten in seconds.
    probe = ("set", "connection", ".", "inactivity_probe=15000")
    return (("set-connection", "role=ovn-controller", place), probe)


def _northd(ctx: Context) -> Process:
    made, user = distribution(ctx), ctx.cloud.user("ovn")
    run = ctx.cloud.run / "ovn"
    places = {"nb": ctx.at("northbound").target, "sb": ctx.at("southbound").target}
    return Process(
        name="ovn-northd",
        component="ovn",
        user=user,
        argv=(
            made.program("ovn-northd"),
            f"--ovnnb-db={places['nb']}",
            f"--ovnsb-db={places['sb']}",
            f"--unixctl={run}/ovn-northd.ctl",
            f"--pidfile={run}/ovn-northd.pid",
            *QUIET,
        ),
        env=_environment(ctx),
        needs=_DATABASES,
        prepare=tuple(
            as_user(
                user,
                *(made.program(f"ovn-{short}ctl"), f"--db={place}"),
                *("--timeout=20", "init"),
            )
            for short, place in places.items()
        )
        + tuple(
            as_user(user, made.program("ovn-sbctl"), f"--db={places['sb']}", "--timeout=20", *words)
            for words in _connection(ctx)
        ),
        probe=_says(ctx, f"{run}/ovn-northd.ctl", "status", "Status: active"),
        roles=_CENTRAL,
    )


def _controller(ctx: Context) -> Process:
    made, run = distribution(ctx), ctx.cloud.run / "ovn"
    switch = ctx.at("switch")
    tls = hosts.own(ctx) if ctx.joined else None
    vsctl = (made.program("ovs-vsctl"), f"--db={switch.target}", "--timeout=20", "--no-wait")
    return Process(
        name="ovn-controller",
        component="ovn",
        user=ctx.cloud.user("ovn"),
        # whose members may talk to the switch, its flow tables included
        groups=(switch.group, *([tls.group] if tls else [])),
        argv=(
            made.program("ovn-controller"),
            switch.target,
            # Debian 12's has no --unixctl: its control socket is named by its pid.
            f"--pidfile={run}/ovn-controller.pid",
            *(tls.of_ovs if tls else ()),
            *QUIET,
        ),
        env=_environment(ctx),
        needs=(*_DATABASES, "external-bridge"),
        prepare=(
            as_user(switch.group, *vsctl, "set", "Open_vSwitch", ".", *chassis(ctx)),
            ("/bin/sh", "-c", f"rm -f {run}/ovn-controller.*.ctl"),
        ),
        probe=_says(
            ctx,
            f"{run}/ovn-controller.$(cat {run}/ovn-controller.pid).ctl",
            "connection-status",
            "connected",
        ),
        roles=_CHASSIS,
    )


def chassis(ctx: Context) -> Iterable[str]:
    """What ovn-controller reads from the switch's database."""
    bridges = ctx.once(Bridges)
    ids = {
        "system-id": _identity(ctx),
        # as agents and computes report: a port is bound to its chassis by it
        "hostname": ctx.host.name,
        "ovn-remote": _remote(ctx),
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": bridges.tunnel_address or _tunnel_end(ctx),
        "ovn-bridge": bridges.integration,
        "ovn-bridge-mappings": ",".join(f"{n}:{b}" for n, b in bridges.all_mappings.items()),
        "ovn-bridge-datapath-type": bridges.datapath,
        # the way to the outside is the gateways'
        "ovn-cms-options": "enable-chassis-as-gw" if ctx.here(_GATEWAY) else "",
        # one chassis wants to know all: no conditions to work out for it
        "ovn-monitor-all": "true",
    }
    return (f'external-ids:{key}="{value}"' for key, value in ids.items())


def _remote(ctx: Context) -> str:
    """Where this host finds the southbound database, as OVN writes it."""
    if ctx.joined:
        return f"ssl:{ctx.at('southbound-hosts')}"
    return ctx.at("southbound").target


def _identity(ctx: Context) -> str:
    """The same for as long as the cloud has its secrets, or the host its place in it.

    Another would be another chassis.
    """
    if ctx.joined:
        return ctx.joined.identity
    return str(uuid.uuid5(uuid.NAMESPACE_OID, ctx.secrets["chassis"]))


def _tunnel_end(ctx: Context) -> str:
    """Where the other hosts reach this one, if there may be others."""
    others = ctx.joined or ctx.offers(hosts.AUTHORITY)
    return ctx.host.addresses[Network.GUESTS] if others else ctx.internal


def _environment(ctx: Context) -> dict[str, str]:
    run, data = ctx.cloud.run / "ovn", ctx.cloud.data / "ovn"
    return environment(ctx) | {"OVN_RUNDIR": str(run), "OVN_DBDIR": str(data)}


def _says(ctx: Context, control: str, question: str, answer: str) -> Probe:
    """Ready when a daemon gives ``answer``; being there is not enough.

    Asked as OVN's user: what the daemon left in its directory is nothing for root to trust.
    """
    appctl = distribution(ctx).program("ovn-appctl")
    script = f'[ "$({appctl} -t "{control}" {question})" = "{answer}" ]'
    return ExecProbe(as_user(ctx.cloud.user("ovn"), "/bin/sh", "-c", script), seconds=20)
