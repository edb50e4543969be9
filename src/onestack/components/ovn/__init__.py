"""OVN: northbound and southbound databases, northd, and this machine's controller."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

from onestack.answers.values import Answers
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Directory
from onestack.model.host import Role
from onestack.model.process import ExecProbe, Probe, Process
from onestack.model.secret import OF_AGENTS, Secret
from onestack.network.bridges import Bridges
from onestack.network.distribution import distribution, environment
from onestack.network.ovsdb import QUIET, answers, as_user, prepare, shared
from onestack.network.tools import tools

TOOLS = ("ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-trace")
_DATABASES = ("ovn-nb-ovsdb", "ovn-sb-ovsdb")
_CENTRAL = (Role.CONTROLLER,)
_CHASSIS = (Role.COMPUTE, Role.GATEWAY)


class Daemons(Feature):
    """All of it, while OVN carries the cloud's networks."""

    name = "daemons"
    title = "OVN"
    provides = (
        Capability("northbound", ("ovn-nb-ovsdb",), socket="ovn/ovnnb_db.sock", group="ovn"),
        Capability("southbound", ("ovn-sb-ovsdb",), socket="ovn/ovnsb_db.sock", group="ovn"),
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

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield from _databases(ctx)
        yield _northd(ctx)
        yield _controller(ctx)


class Ovn(Component):
    name = "ovn"
    title = "OVN"
    features = (Daemons(),)
    roles = OF_AGENTS
    secrets = (Secret("chassis", roles=OF_AGENTS),)

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
                f"--unixctl={run}/ovn{short}_db.ctl",
                f"--pidfile={run}/ovn{short}_db.pid",
                *QUIET,
            ),
            env=_environment(ctx),
            prepare=(prepare(ctx, path, f"ovn-{short}", user),),
            probe=answers(f"{run}/ovn{short}_db.sock"),
            roles=_CENTRAL,
        )


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
        ),
        probe=_says(ctx, f"{run}/ovn-northd.ctl", "status", "Status: active"),
        roles=_CENTRAL,
    )


def _controller(ctx: Context) -> Process:
    made, run = distribution(ctx), ctx.cloud.run / "ovn"
    switch = ctx.at("switch")
    vsctl = (made.program("ovs-vsctl"), f"--db={switch.target}", "--timeout=20", "--no-wait")
    return Process(
        name="ovn-controller",
        component="ovn",
        user=ctx.cloud.user("ovn"),
        # whose members may talk to the switch, its flow tables included
        groups=(switch.group,),
        argv=(
            made.program("ovn-controller"),
            switch.target,
            # Debian 12's has no --unixctl: its control socket is named by its pid.
            f"--pidfile={run}/ovn-controller.pid",
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
        # the same for as long as the cloud has its secrets; another would be another chassis
        "system-id": str(uuid.uuid5(uuid.NAMESPACE_OID, ctx.secrets["chassis"])),
        # as agents and computes report: a port is bound to its chassis by it
        "hostname": ctx.host.name,
        "ovn-remote": ctx.at("southbound").target,
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": bridges.tunnel_address or ctx.internal,
        "ovn-bridge": bridges.integration,
        "ovn-bridge-mappings": ",".join(f"{n}:{b}" for n, b in bridges.all_mappings.items()),
        "ovn-bridge-datapath-type": bridges.datapath,
        "ovn-cms-options": "enable-chassis-as-gw",
        # one chassis wants to know all: no conditions to work out for it
        "ovn-monitor-all": "true",
    }
    return (f'external-ids:{key}="{value}"' for key, value in ids.items())


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
