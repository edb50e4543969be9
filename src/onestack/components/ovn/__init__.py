"""OVN: northbound and southbound databases, northd, and this machine's controller."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.base import Component, Context, Directory, Task
from onestack.components.openvswitch import environment
from onestack.components.openvswitch.distribution import distribution
from onestack.host.change import Change
from onestack.host.command import run
from onestack.host.files import write_file
from onestack.network.backend import datapath, l2_agent
from onestack.supervise.spec import Probe, Process

DATABASES = {"nb": "ovn-nb", "sb": "ovn-sb"}
QUIET = ("-vconsole:info", "-vsyslog:off", "-vfile:off")


class Ovn(Component):
    name = "ovn"
    title = "OVN"

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def packages(self, ctx: Context) -> Iterable[str]:
        if not wanted(ctx) or distribution(ctx).tree:
            return ()
        return ("ovn-central", "ovn-host")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        group = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, "root", group, 0o750)
        yield Directory(ctx.cloud.run / self.name, "root", group, 0o2750)

    def processes(self, ctx: Context) -> Iterable[Process]:
        if not wanted(ctx):
            return
        made, group = distribution(ctx), ctx.cloud.user(self.name)
        run_dir, data = ctx.cloud.run / self.name, ctx.cloud.data / self.name
        env = environment(ctx) | {"OVN_RUNDIR": str(run_dir), "OVN_DBDIR": str(data)}
        sockets = {short: run_dir / f"ovn{short}_db.sock" for short in DATABASES}
        for short in DATABASES:
            yield Process(
                name=f"ovn-{short}-ovsdb",
                component=self.name,
                user=group,
                argv=(
                    made.program("ovsdb-server"),
                    str(data / f"ovn{short}.db"),
                    f"--remote=punix:{sockets[short]}",
                    f"--unixctl={run_dir}/ovn{short}_db.ctl",
                    f"--pidfile={run_dir}/ovn{short}_db.pid",
                    *QUIET,
                ),
                env=env,
                probe=Probe("connect", f"unix:{sockets[short]}", seconds=20),
            )
        both = tuple(f"ovn-{short}-ovsdb" for short in DATABASES)
        yield Process(
            name="ovn-northd",
            component=self.name,
            user=group,
            argv=(
                made.program("ovn-northd"),
                f"--ovnnb-db=unix:{sockets['nb']}",
                f"--ovnsb-db=unix:{sockets['sb']}",
                f"--unixctl={run_dir}/ovn-northd.ctl",
                f"--pidfile={run_dir}/ovn-northd.pid",
                *QUIET,
            ),
            env=env,
            needs=both,
            probe=Probe("file", f"{run_dir}/ovn-northd.pid", seconds=20),
        )
        socket = ctx.cloud.run / "openvswitch" / "db.sock"
        yield Process(
            name="ovn-controller",
            component=self.name,
            # It talks to the switch's management sockets, which are root's.
            user="root",
            argv=(
                made.program("ovn-controller"),
                f"unix:{socket}",
                f"--unixctl={run_dir}/ovn-controller.ctl",
                f"--pidfile={run_dir}/ovn-controller.pid",
                *QUIET,
            ),
            env=env,
            needs=(*both, "external-bridge"),
            prepare=(self._chassis(ctx, made.program("ovs-vsctl"), socket, sockets["sb"]),),
            probe=Probe("file", f"{run_dir}/ovn-controller.pid", seconds=20),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        if wanted(ctx):
            yield Task(
                "databases",
                lambda: self._ensure_databases(ctx),
                ("openvswitch:release",),
                before_start=True,
            )

    def _ensure_databases(self, ctx: Context) -> Iterator[Change]:
        made, user = distribution(ctx), ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        for short, schema in DATABASES.items():
            path = data / f"ovn{short}.db"
            if path.exists():
                continue

            def make(path: Path = path, schema: str = schema) -> None:
                new = path.with_suffix(".new")
                new.unlink(missing_ok=True)
                run(
                    [made.program("ovsdb-tool"), "create", str(new), made.schema(schema)],
                    timeout=30,
                )
                run(["chown", f"{user}:{user}", str(new)], timeout=10)
                new.rename(path)

            yield Change(f"make the database {schema}", make)
        name = data / "system-id"
        if not name.exists():
            yield Change("name this chassis", lambda: write_file(name, str(uuid.uuid4())))

    def _chassis(self, ctx: Context, vsctl: str, socket: Path, southbound: Path) -> tuple[str, ...]:
        """What ovn-controller reads from the switch's database before it starts."""
        name = ctx.cloud.data / self.name / "system-id"
        system_id = name.read_text() if name.exists() else str(uuid.uuid4())
        mappings = f"extnet:{ctx.cloud.device('br-ex')}"
        ids = {
            "system-id": system_id,
            "ovn-remote": f"unix:{southbound}",
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": ctx.internal,
            "ovn-bridge": ctx.cloud.device("br-int"),
            "ovn-bridge-mappings": mappings,
            "ovn-bridge-datapath-type": datapath(ctx.host),
            "ovn-cms-options": "enable-chassis-as-gw",
            "hostname": ctx.host.hostname,
        }
        pairs = tuple(f"external-ids:{key}={value}" for key, value in ids.items())
        return (vsctl, f"--db=unix:{socket}", "--no-wait", "set", "Open_vSwitch", ".", *pairs)


def wanted(ctx: Context) -> bool:
    return l2_agent(ctx.answers, ctx.host)[0] == "ovn"
