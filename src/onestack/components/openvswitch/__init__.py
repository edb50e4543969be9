"""Open vSwitch of the cloud's own: database, switch, and the machine's leg on br-ex."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.key import Key, Kind
from onestack.answers.values import Answers
from onestack.components.base import Component, Context, Directory, Task
from onestack.components.openvswitch.database import ensure_database
from onestack.components.openvswitch.distribution import Distribution, distribution, ensure_unpacked
from onestack.network.backend import datapath
from onestack.supervise.spec import Probe, Process


class Openvswitch(Component):
    name = "openvswitch"
    title = "Open vSwitch"
    keys = (
        Key(
            "CONFIG_ONESTACK_EXTERNAL_ADDRESS",
            "",
            "The machine's own address on the external network (10.50.14.1/24), put on br-ex: "
            "floating IPs answer from the machine, and guests reach the outside through it.",
            Kind.INTERFACE,
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("openvswitch-switch", "iproute2", "nftables")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        group = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, "root", group, 0o750)
        # setgid: the sockets made here are of the group that may use them
        yield Directory(ctx.cloud.run / self.name, "root", group, 0o2750)

    def processes(self, ctx: Context) -> Iterable[Process]:
        made = distribution(ctx)
        run, data = ctx.cloud.run / self.name, ctx.cloud.data / self.name
        group = ctx.cloud.user(self.name)
        socket = run / "db.sock"
        env = environment(ctx)
        yield Process(
            name="ovsdb-server",
            component=self.name,
            user="root",
            argv=(
                made.program("ovsdb-server"),
                str(data / "conf.db"),
                f"--remote=punix:{socket}",
                "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
                f"--unixctl={run}/ovsdb-server.ctl",
                f"--pidfile={run}/ovsdb-server.pid",
                "-vconsole:info",
                "-vsyslog:off",
                "-vfile:off",
            ),
            env=env,
            probe=Probe("connect", f"unix:{socket}", seconds=20),
        )
        vsctl = made.program("ovs-vsctl")
        yield Process(
            name="ovs-vswitchd",
            component=self.name,
            # It makes network devices, raw sockets and (userspace) locked memory.
            user="root",
            argv=(
                made.program("ovs-vswitchd"),
                f"unix:{socket}",
                f"--unixctl={run}/ovs-vswitchd.ctl",
                f"--pidfile={run}/ovs-vswitchd.pid",
                "-vconsole:info",
                "-vsyslog:off",
                "-vfile:off",
            ),
            env=env,
            needs=("ovsdb-server",),
            # others of the group talk to the database
            prepare=(
                ("chgrp", group, str(socket)),
                ("chmod", "0660", str(socket)),
                *settings(ctx, vsctl, socket),
            ),
            probe=Probe(
                "exec",
                argv=(made.program("ovs-appctl"), "-t", f"{run}/ovs-vswitchd.ctl", "version"),
                seconds=20,
            ),
        )
        yield Process(
            name="external-bridge",
            component=self.name,
            user="root",
            run="onestack.components.openvswitch.run:external_bridge",
            arguments={
                "vsctl": [vsctl, f"--db=unix:{socket}"],
                "bridge": ctx.cloud.device("br-ex"),
                "datapath": datapath(ctx.host),
                "address": str(ctx.answers["CONFIG_ONESTACK_EXTERNAL_ADDRESS"]),
                "table": ctx.cloud.prefix.replace("-", "_"),
                "state": str(ctx.cloud.run / self.name / "external"),
            },
            env=env,
            needs=("ovs-vswitchd",),
            probe=Probe("file", str(ctx.cloud.run / self.name / "external"), seconds=20),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("release", lambda: ensure_unpacked(ctx), before_start=True)
        yield Task(
            "database",
            lambda: ensure_database(ctx, distribution(ctx)),
            ("openvswitch:release",),
            before_start=True,
        )


def environment(ctx: Context) -> dict[str, str]:
    """Compiled-in places, moved to the cloud's own."""
    run = ctx.cloud.run / "openvswitch"
    data = ctx.cloud.data / "openvswitch"
    made: Distribution = distribution(ctx)
    return {
        "PATH": made.path,
        "OVS_RUNDIR": str(run),
        "OVS_DBDIR": str(data),
        "OVS_SYSCONFDIR": str(data),
        "OVS_LOGDIR": str(ctx.cloud.log),
    }


def settings(ctx: Context, vsctl: str, socket: Path) -> Iterable[tuple[str, ...]]:
    """What the switch must find in its database before it makes its first port."""
    base = (vsctl, "--no-wait", f"--db=unix:{socket}")
    yield (*base, "init")
    if datapath(ctx.host) == "netdev":
        yield (
            *(*base, "set", "Open_vSwitch", "."),
            # Without it each veth would need its checksum offload switched off.
            "other_config:userspace-tso-enable=true",
        )
