"""Volumes of the file pool for servers on other hosts: a storage daemon for each of these hosts.

The volume driver (`inside.served`) says what a host may open, in the host's folder of
`onestack.storage.exports`; its daemon serves that by NBD, to the host's certificate alone. It runs
as a user of its own, which opens the pool's files and reads nothing of cinder's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from onestack.cluster.protocol import VOLUMES, holder
from onestack.components import hosts
from onestack.components.cinder import backends, local
from onestack.model.component import Feature
from onestack.model.context import Context, in_url
from onestack.model.declarations import Capability, ConfigFile, Directory, Opened, Port
from onestack.model.host import Member, Role
from onestack.model.ini import Ini, Value
from onestack.model.process import ConnectProbe, Process
from onestack.model.secret import ON_STORAGE
from onestack.storage import nbd

USER = hosts.VOLUMES
"""Of the daemons."""


def served(ctx: Context) -> bool:
    """Whether volumes of this machine's are for servers on other hosts too.

    By answers, and not by what is offered: it is asked to find that out.
    """
    answers = ctx.answers
    able = answers[hosts.JOIN] and answers["CONFIG_NOVA_INSTALL"]
    return bool(able) and ctx.joined is None and ctx.once(local.kind) == backends.FILE_POOL


class Serving(Feature):
    name = "serving"
    title = "Volumes for servers on other hosts"
    provides = (Capability(hosts.VOLUMES),)

    def on(self, ctx: Context) -> bool:
        return served(ctx)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("qemu-system-common", "qemu-utils")  # one of them has the daemon

    def started(self, ctx: Context) -> Iterable[str]:
        yield nbd.DAEMON

    def users(self, ctx: Context) -> Iterable[str]:
        return (ctx.cloud.user(USER),)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        cinder, user = ctx.cloud.user("cinder"), ctx.cloud.user(USER)
        # What cinder writes there is for the daemons to read: their group goes down with it.
        yield Directory(exports(ctx), cinder, user, 0o2750)
        yield Directory(_run(ctx), user, cinder, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(
            places(ctx),
            json.dumps(_places(ctx), indent=1, sort_keys=True) + "\n",
            ctx.cloud.user("cinder"),
            roles=ON_STORAGE,
        )

    def opened(self, ctx: Context) -> Iterable[Opened]:
        for member in _members(ctx):
            yield Opened(_address(ctx), Port("tcp", _port(member)))

    def processes(self, ctx: Context) -> Iterable[Process]:
        tls = hosts.volumes(ctx)
        for member in _members(ctx):
            yield Process(
                name=process(member),
                component="cinder",
                user=ctx.cloud.user(USER),
                argv=(
                    *(str(ctx.release.services.python), "-m", nbd.__name__),
                    *(str(exports(ctx)), member.identity, str(tls)),
                    f"CN={holder(VOLUMES, member.identity)}",
                ),
                env={"PYTHONPATH": str(ctx.release.program)},
                # Kept while it is started anew: who comes then waits.
                sockets={
                    nbd.MONITOR: f"unix:{_monitor(ctx, member)}",
                    nbd.SERVED: f"tcp:{in_url(_address(ctx))}:{_port(member)}",
                },
                sockets_group=ctx.cloud.user("cinder"),
                files=tuple(str(tls / f"{name}.pem") for name in ("ca-cert", "server-cert")),
                probe=ConnectProbe(f"unix:{_monitor(ctx, member)}", hear='"QMP"'),
                roles=(Role.STORAGE,),
            )


def sections(ctx: Context) -> Ini:
    """Of cinder.conf: where the driver finds all this."""
    if not served(ctx):
        return {}
    options: dict[str, Value] = {
        "filepool_hosts": str(places(ctx)),
        "filepool_exports": str(exports(ctx)),
    }
    return {ctx.once(local.kind): options}


def processes(ctx: Context) -> tuple[str, ...]:
    """Names of those that must see the pool."""
    return tuple(process(member) for member in _members(ctx)) if served(ctx) else ()


def process(member: Member) -> str:
    return f"cinder-nbd-{member.name}"


def exports(ctx: Context) -> Path:
    return ctx.cloud.data / "cinder" / "exports"


def places(ctx: Context) -> Path:
    """Which hosts there are, and who serves each. The driver reads it each time: a host that
    joins or goes has no service of cinder's started anew."""
    return ctx.cloud.etc / "cinder" / "hosts.json"


def _places(ctx: Context) -> dict[str, object]:
    return {
        "address": _address(ctx),
        "hosts": {
            member.name: {
                "identity": member.identity,
                "port": _port(member),
                "monitor": str(_monitor(ctx, member)),
            }
            for member in _members(ctx)
        },
    }


def _members(ctx: Context) -> Iterable[Member]:
    return tuple(member for member in ctx.members if Role.COMPUTE in member.roles)


def _port(member: Member) -> int:
    return hosts.volumes_port(member.number)


def _address(ctx: Context) -> str:
    """Where hosts reach the controller."""
    return ctx.public


def _run(ctx: Context) -> Path:
    return ctx.cloud.run / USER


def _monitor(ctx: Context, member: Member) -> Path:
    """By its number: a socket's path is short."""
    return _run(ctx) / f"{member.number}.sock"
