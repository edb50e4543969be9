"""OVN: northbound and southbound databases, northd, and this machine's controller."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from onestack.answers.values import Answers
from onestack.components.neutron.layout import Layout
from onestack.components.openvswitch import QUIET, environment
from onestack.components.openvswitch.database import as_user, prepare, shared
from onestack.components.openvswitch.distribution import distribution
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, Directory
from onestack.model.process import ConnectProbe, ExecProbe, Probe, Process
from onestack.model.secret import OF_AGENTS, Secret
from onestack.network.addresses import first_address
from onestack.network.backend import datapath, l2_agent


class Ovn(Component):
    name = "ovn"
    title = "OVN"
    provides = (
        Capability("northbound", ("ovn-nb-ovsdb",), socket="ovn/ovnnb_db.sock"),
        Capability("southbound", ("ovn-sb-ovsdb",), socket="ovn/ovnsb_db.sock"),
        Capability("chassis", ("ovn-controller",)),
    )
    roles = OF_AGENTS
    secrets = (Secret("chassis", roles=OF_AGENTS),)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def packages(self, ctx: Context) -> Iterable[str]:
        if not wanted(ctx) or distribution(ctx).tree:
            return ()
        return ("ovn-central", "ovn-host")

    def users(self, ctx: Context) -> Iterable[str]:
        return (ctx.cloud.user(self.name),) if wanted(ctx) else ()

    def directories(self, ctx: Context) -> Iterable[Directory]:
        if wanted(ctx):
            user = ctx.cloud.user(self.name)
            yield Directory(ctx.cloud.data / self.name, user, user, 0o750)
            # members of the group reach the databases
            yield Directory(ctx.cloud.run / self.name, user, user, 0o2750)

    def processes(self, ctx: Context) -> Iterable[Process]:
        if not wanted(ctx):
            return
        made, user = distribution(ctx), ctx.cloud.user(self.name)
        run, data = ctx.cloud.run / self.name, ctx.cloud.data / self.name
        env = environment(ctx) | {"OVN_RUNDIR": str(run), "OVN_DBDIR": str(data)}
        appctl = made.program("ovn-appctl")
        for short in ("nb", "sb"):
            path = data / f"ovn{short}.db"
            yield Process(
                name=f"ovn-{short}-ovsdb",
                component=self.name,
                user=user,
                argv=shared(
                    made.program("ovsdb-server"),
                    str(path),
                    f"--remote=punix:{run}/ovn{short}_db.sock",
                    f"--unixctl={run}/ovn{short}_db.ctl",
                    f"--pidfile={run}/ovn{short}_db.pid",
                    *QUIET,
                ),
                env=env,
                prepare=(prepare(ctx, path, f"ovn-{short}", user),),
                probe=ConnectProbe(f"unix:{run}/ovn{short}_db.sock", seconds=20),
            )
        databases = ("ovn-nb-ovsdb", "ovn-sb-ovsdb")
        places = {short: f"unix:{run}/ovn{short}_db.sock" for short in ("nb", "sb")}
        yield Process(
            name="ovn-northd",
            component=self.name,
            user=user,
            argv=(
                made.program("ovn-northd"),
                f"--ovnnb-db={places['nb']}",
                f"--ovnsb-db={places['sb']}",
                f"--unixctl={run}/ovn-northd.ctl",
                f"--pidfile={run}/ovn-northd.pid",
                *QUIET,
            ),
            env=env,
            needs=databases,
            prepare=tuple(
                as_user(
                    user,
                    *(made.program(f"ovn-{short}ctl"), f"--db={places[short]}"),
                    *("--timeout=20", "init"),
                )
                for short in places
            ),
            probe=_says(user, appctl, f"{run}/ovn-northd.ctl", "status", "Status: active"),
        )
        socket = ctx.cloud.run / "openvswitch" / "db.sock"
        switch = ctx.cloud.user("openvswitch")
        vsctl = (made.program("ovs-vsctl"), f"--db=unix:{socket}", "--timeout=20", "--no-wait")
        yield Process(
            name="ovn-controller",
            component=self.name,
            user=user,
            # whose members may talk to the switch, its flow tables included
            groups=(switch,),
            argv=(
                made.program("ovn-controller"),
                f"unix:{socket}",
                # Debian 12's has no --unixctl: its control socket is named by its pid.
                f"--pidfile={run}/ovn-controller.pid",
                *QUIET,
            ),
            env=env,
            needs=(*databases, "external-bridge"),
            prepare=(
                as_user(switch, *vsctl, "set", "Open_vSwitch", ".", *chassis(ctx, places["sb"])),
                ("/bin/sh", "-c", f"rm -f {run}/ovn-controller.*.ctl"),
            ),
            probe=_says(
                user,
                appctl,
                f"{run}/ovn-controller.$(cat {run}/ovn-controller.pid).ctl",
                "connection-status",
                "connected",
            ),
        )


def chassis(ctx: Context, southbound: str) -> Iterable[str]:
    """What ovn-controller reads from the switch's database."""
    layout = Layout(ctx)
    mappings = layout.bridge_mappings
    if layout.external_bridge and layout.external_bridge not in mappings.values():
        mappings[layout.external_network] = layout.external_bridge
    device = layout.wiring.tunnel_device
    ids = {
        # the same for as long as the cloud has its secrets; another would be another chassis
        "system-id": str(uuid.uuid5(uuid.NAMESPACE_OID, ctx.secrets["chassis"])),
        "hostname": ctx.facts.hostname,
        "ovn-remote": southbound,
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": first_address(device, ctx.facts.cloud_devices) if device else ctx.internal,
        "ovn-bridge": layout.integration_bridge,
        "ovn-bridge-mappings": ",".join(f"{net}:{bridge}" for net, bridge in mappings.items()),
        "ovn-bridge-datapath-type": datapath(ctx.facts),
        "ovn-cms-options": "enable-chassis-as-gw",
        # one chassis wants to know all: no conditions to work out for it
        "ovn-monitor-all": "true",
    }
    return (f'external-ids:{key}="{value}"' for key, value in ids.items())


def wanted(ctx: Context) -> bool:
    return l2_agent(ctx.answers, ctx.facts)[0] == "ovn"


def _says(user: str, appctl: str, control: str, question: str, answer: str) -> Probe:
    """Ready when a daemon gives ``answer``; being there is not enough.

    Asked as ``user``: what the daemon left in its directory is nothing for root to trust.
    """
    script = f'[ "$({appctl} -t "{control}" {question})" = "{answer}" ]'
    return ExecProbe(as_user(user, "/bin/sh", "-c", script), seconds=20)
