"""The door: where other machines ask to become hosts of the cloud.

There only when asked for. Its front (HAProxy) ends TLS as one user; what answers behind it, which
keeps the list of hosts and signs their certificates, is another. Neither is root: what a new host
needs of the controller is made by `up`, the one command that the second may have run.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.cluster.protocol import PORT
from onestack.cluster.settings import DoorSettings
from onestack.components.door import authority, front
from onestack.model.component import Component
from onestack.model.context import Context, in_url
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    KnownError,
    Opened,
    Port,
    Task,
)
from onestack.model.findings import Finding, refuse
from onestack.model.key import Key, Kind
from onestack.model.process import HttpProbe, Process
from onestack.model.root_command import RootCommand
from onestack.model.secret import Secret

JOIN = "CONFIG_ONESTACK_JOIN"
LAUNCHER = Path(__file__).resolve().parents[4] / "onestack"
"""The program itself, as people start it."""


class Door(Component):
    name = "door"
    title = "Door for other hosts"
    provides = (Capability("door", ("door", "door-front")),)
    keys = (
        Key(
            JOIN,
            "n",
            f"Let other machines join: the cloud's door opens, at port {PORT} of its address.",
            Kind.FLAG,
        ),
    )
    secrets = (Secret("hosts"),)
    known_errors = (
        KnownError(
            "cannot bind socket",
            f"port {PORT} of {{public}} is taken",
            f"see by whom: ss -ltnp 'sport = {PORT}'",
        ),
        KnownError(
            "SSL handshake failure",
            "a machine came that speaks no TLS 1.3, or does not believe the door",
            "it has a token of another cloud, or is no onestack",
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[JOIN])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if ipaddress.ip_address(ctx.public).is_loopback:
            yield refuse(
                f"no other machine can join at {ctx.public}",
                f"{JOIN}=y, and the cloud's address is one that only this machine reaches",
                "give the cloud this machine's own: --set CONFIG_CONTROLLER_HOST=ADDRESS",
            )

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("haproxy",)

    def users(self, ctx: Context) -> Iterable[str]:
        return (ctx.cloud.user(self.name), _front(ctx))

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(authority.directory(ctx), mode=0o755)
        yield Directory(place(ctx), user, user, 0o700)
        yield Directory(ctx.cloud.run / self.name, user, _front(ctx), 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(_front_config(ctx), _front_text(ctx), _front(ctx))
        yield ConfigFile(_settings(ctx), settings(ctx).to_json(), ctx.cloud.user(self.name))

    def opened(self, ctx: Context) -> Iterable[Opened]:
        yield Opened(ctx.public, Port("tcp", PORT))

    def processes(self, ctx: Context) -> Iterable[Process]:
        socket = str(_socket(ctx))
        yield Process(
            name="door",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.door.inside.run:answers",
            arguments={"settings": str(_settings(ctx))},
            sockets={"api": f"unix:{socket}"},
            sockets_group=_front(ctx),
            files=(str(_settings(ctx)), str(authority.ca(ctx)), str(authority.ca_key(ctx))),
            probe=HttpProbe(f"unix:{socket}:/v1/hello"),
        )
        config = str(_front_config(ctx))
        yield Process(
            name="door-front",
            component=self.name,
            user=_front(ctx),
            argv=("/usr/sbin/haproxy", "-db", "-f", config),
            files=(config, str(authority.ca(ctx)), str(authority.server(ctx))),
            needs=("door",),
            probe=HttpProbe(f"https://{in_url(ctx.public)}:{PORT}{front.ALIVE}", seconds=15),
        )

    def preload(self, ctx: Context) -> Iterable[str]:
        return ("cryptography.x509", "onestack.runtime.wsgi")

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        words = tuple(re.escape(word) for word in _admit(ctx))
        return {ctx.cloud.user(self.name): (RootCommand(words),)}

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task(
            "certificates",
            lambda: authority.ensure_certificates(ctx, ctx.cloud.user(self.name), _front(ctx)),
            ("users",),
            before_start=True,
        )


def place(ctx: Context) -> Path:
    """Where the list of hosts is kept."""
    return ctx.cloud.data / "door"


def settings(ctx: Context) -> DoorSettings:
    helper = ctx.release.program / "onestack" / "runtime" / "root-helper"
    return DoorSettings(
        cloud=ctx.cloud.name,
        release=ctx.release.name,
        controller=ctx.host.name,
        address=ctx.public,
        folder=str(place(ctx)),
        ca=str(authority.ca(ctx)),
        ca_key=str(authority.ca_key(ctx)),
        authority=str(ctx.authority),
        accounts=ctx.secrets["hosts"],
        shared={},
        admit=(str(helper), *_admit(ctx)),
    )


def _admit(ctx: Context) -> tuple[str, ...]:
    """What makes on the controller all that its hosts need there, any number of times."""
    return (str(LAUNCHER), "up", "--name", ctx.cloud.name, "--root", str(ctx.cloud.root))


def _front(ctx: Context) -> str:
    """The front's user: what it is sent by strangers it reads without the authority's key."""
    return ctx.cloud.user("doorway")


def _front_config(ctx: Context) -> Path:
    return authority.directory(ctx) / "haproxy.cfg"


def _front_text(ctx: Context) -> str:
    files = authority.server(ctx), authority.ca(ctx)
    return front.text(ctx.public, PORT, *files, _socket(ctx))


def _settings(ctx: Context) -> Path:
    return authority.directory(ctx) / "door.json"


def _socket(ctx: Context) -> Path:
    return ctx.cloud.run / "door" / "api.sock"
