"""The door: where other machines ask to become hosts of the cloud, and reach its services.

There only when asked for. On the controller its front (HAProxy) ends TLS as one user; what answers
behind it, which keeps the list of hosts and signs their certificates, is another. Neither is root:
what a new host needs of the controller is made by `up`, the one command that the second may have
run. On a host that has joined there is the other side of it, the passage.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.cluster.membership import Membership
from onestack.cluster.protocol import PORT
from onestack.cluster.settings import DoorSettings
from onestack.components import hosts
from onestack.components.door import authority, follower, peers, shared, verbs
from onestack.components.door.front import ALIVE, Front
from onestack.components.door.passage import Passage
from onestack.model.change import Change
from onestack.model.component import Component, Feature
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
from onestack.model.host import EVERY_ROLE, PASSAGE, Role
from onestack.model.key import Key, Kind
from onestack.model.process import HttpProbe, NotifyProbe, Process
from onestack.model.root_command import RootCommand
from onestack.model.secret import Secret
from onestack.release import program

NAME = hosts.ROOM
JOIN = hosts.JOIN
FOR_HOSTS = (
    *("identity", "placement", "image", "network", "block-storage", "metadata", "messaging"),
    *("key-manager", "southbound-hosts"),
)
"""Capabilities that hosts are led to, through the door: what computes ask, and nothing else."""
LAUNCHER = Path(__file__).resolve().parents[4] / "onestack"
"""The program itself, as people start it."""


class Doorway(Feature):
    """On the controller."""

    name = "doorway"
    title = "The cloud's door"
    provides = (Capability(hosts.DOOR, ("door", "door-front")),)

    def on(self, ctx: Context) -> bool:
        return ctx.joined is None

    def users(self, ctx: Context) -> Iterable[str]:
        return (_front(ctx),)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(NAME)
        yield Directory(place(ctx), user, user, 0o700)
        yield Directory(ctx.cloud.run / NAME, user, _front(ctx), 0o750)
        yield Directory(_front_run(ctx), _front(ctx), _front(ctx), 0o700)
        yield Directory(verbs.spool(ctx.cloud), user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        controller = frozenset({Role.CONTROLLER})
        text = _front_text(ctx)
        yield ConfigFile(_front_config(ctx), text, _front(ctx), roles=controller)
        told = settings(ctx).to_json()
        yield ConfigFile(_settings(ctx), told, ctx.cloud.user(NAME), roles=controller)

    def opened(self, ctx: Context) -> Iterable[Opened]:
        yield Opened(ctx.public, Port("tcp", PORT))

    def processes(self, ctx: Context) -> Iterable[Process]:
        socket, config = str(_socket(ctx)), str(_front_config(ctx))
        yield Process(
            name="door",
            component=NAME,
            user=ctx.cloud.user(NAME),
            run="onestack.components.door.inside.run:answers",
            arguments={"settings": str(_settings(ctx))},
            sockets={"api": f"unix:{socket}"},
            sockets_group=_front(ctx),
            files=(str(_settings(ctx)), str(hosts.ca(ctx)), str(authority.ca_key(ctx))),
            probe=HttpProbe(f"unix:{socket}:/v1/hello"),
            roles=(Role.CONTROLLER,),
        )
        shown = (hosts.ca(ctx), authority.server(ctx), authority.revoked(ctx))
        yield Process(
            name="door-front",
            component=NAME,
            user=_front(ctx),
            argv=("/usr/sbin/haproxy", "-db", "-f", config),
            files=(config, *map(str, shown)),
            needs=("door",),
            probe=HttpProbe(f"https://{in_url(ctx.public)}:{PORT}{ALIVE}", seconds=15),
            roles=(Role.CONTROLLER,),
        )

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        words = tuple(re.escape(word) for word in _admit(ctx))
        return {ctx.cloud.user(NAME): (RootCommand(words),)}


class Way(Feature):
    """On a host that has joined."""

    name = PASSAGE
    title = "The way to the controller"
    provides = (Capability(PASSAGE, ("passage",)),)

    def on(self, ctx: Context) -> bool:
        return ctx.joined is not None

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(NAME)
        yield Directory(place(ctx), user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        files = authority.shown(ctx), hosts.ca(ctx)
        text = Passage(ctx.public, PORT, *files, _services(ctx)).text
        yield ConfigFile(_passage_config(ctx), text, ctx.cloud.user(NAME))

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_passage_config(ctx))
        yield Process(
            name="passage",
            component=NAME,
            user=ctx.cloud.user(NAME),
            argv=("/usr/sbin/haproxy", "-db", "-f", config),
            files=(config, str(hosts.ca(ctx)), str(authority.shown(ctx))),
            # Whoever waits for it waits for the controller.
            probe=HttpProbe(ctx.url("identity"), seconds=120),
        )
        tls = hosts.own(ctx)
        yield Process(
            name="follower",
            component=NAME,
            user=ctx.cloud.user(NAME),
            run="onestack.components.door.inside.following:follow",
            arguments={
                "door": f"https://{in_url(ctx.public)}:{PORT}",
                "ca": str(tls.ca),
                "certificate": str(tls.certificate),
                "key": str(tls.key),
                "applied": str(hosts.applied(ctx.cloud.etc)),
                "edition": str(hosts.edition(ctx.cloud.etc)),
                "memory": str(follower.memory(ctx.cloud)),
                "command": [_helper(ctx), *_follow(ctx)],
                "verb": [_helper(ctx), *verbs.LIMIT],
                "launcher": str(LAUNCHER),
                "cloud": verbs.cloud(ctx),
            },
            probe=NotifyProbe(),
            stop_seconds=5.0,
        )

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        words = tuple(re.escape(word) for word in _follow(ctx))
        asked = verbs.allowed(ctx, str(LAUNCHER))
        return {ctx.cloud.user(NAME): (RootCommand(words), *asked)}


class Door(Component):
    name = NAME
    title = "Door for other hosts"
    roles = EVERY_ROLE
    features = (Doorway(), Way())
    provides = (Capability(hosts.AUTHORITY, tasks=(f"{NAME}:certificates",)),)
    keys = (
        Key(
            JOIN,
            "n",
            f"Let other machines join: the cloud's door opens, at port {PORT} of its address.",
            Kind.FLAG,
        ),
        Key(
            hosts.MOVE,
            "n",
            "Let servers move from host to host, running or stopped. Hosts' libvirtds then "
            "hear one another, and who takes over one host has all of them.",
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
            "a machine came that speaks no TLS 1.3, shows no certificate of this cloud's, or does "
            "not believe the door",
            "it was removed, or has a token of another cloud, or is no onestack",
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[JOIN])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if not ctx.joined and ipaddress.ip_address(ctx.public).is_loopback:
            yield refuse(
                f"no other machine can join at {ctx.public}",
                f"{JOIN}=y, and the cloud's address is one that only this machine reaches",
                "give the cloud this machine's own: --set CONFIG_CONTROLLER_HOST=ADDRESS",
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.door.lasting import findings

        yield from findings(ctx)
        if ctx.joined:
            from onestack.components.door import volumes

            yield from volumes.findings(ctx)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("haproxy",)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        # No process is started anew for it.
        text = f"{program.edition()}\n"
        yield ConfigFile(hosts.edition(ctx.cloud.etc), text, ctx.cloud.user(self.name))

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(hosts.directory(ctx), mode=0o755)

    def preload(self, ctx: Context) -> Iterable[str]:
        return () if ctx.joined else ("cryptography.x509", "onestack.runtime.wsgi")

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("certificates", lambda: self._certificates(ctx), ("users",), before_start=True)

        if ctx.members:
            yield Task("admitted", lambda: _admitted(ctx), ("ready",))

    def _certificates(self, ctx: Context) -> Iterator[Change]:
        if ctx.joined:
            yield from authority.ensure_shown(ctx)
            if hosts.purposes(ctx):
                yield from peers.ensure_shown(ctx)
            yield from peers.ensure_carriers(ctx)
            return
        gone = [one.serial for one in Membership(place(ctx)).revoked()]
        signers = ctx.cloud.user(self.name)
        yield from authority.ensure_certificates(ctx, signers, _front(ctx), gone)
        yield from peers.ensure_authority(ctx, signers, gone)
        if hosts.purposes(ctx):
            yield from peers.ensure_own(ctx)
            yield from peers.ensure_shown(ctx)
        yield from peers.ensure_carriers(ctx)
        if ctx.offers(hosts.VOLUMES):
            yield from peers.ensure_volumes(ctx)


def _admitted(ctx: Context) -> Iterator[Change]:
    """What hosts need of the controller is there by now; they are told when they ask."""
    hosts_there = Membership(place(ctx))
    known = {m.identity for m in hosts_there.document().members if not m.admitted}
    for member in ctx.members:
        if member.identity in known:
            yield Change(
                f"let the host {member.name} in",
                functools.partial(hosts_there.admitted, [member.identity]),
            )


def place(ctx: Context) -> Path:
    """Where the list of hosts is kept."""
    return ctx.cloud.data / NAME


def settings(ctx: Context) -> DoorSettings:
    return DoorSettings(
        cloud=ctx.cloud.name,
        release=ctx.release.name,
        controller=ctx.host.name,
        address=ctx.public,
        folder=str(place(ctx)),
        ca=str(hosts.ca(ctx)),
        ca_key=str(authority.ca_key(ctx)),
        authority=str(ctx.authority),
        peers=str(peers.ca(ctx)),
        peers_key=str(peers.ca_key(ctx)),
        peers_revoked=str(peers.revoked(ctx)),
        purposes=hosts.wanted(ctx),
        accounts=ctx.secrets["hosts"],
        shared={Role.COMPUTE.value: shared.shared(ctx, Role.COMPUTE)},
        admit=(_helper(ctx), *_admit(ctx)),
        edition=str(hosts.edition(ctx.cloud.etc)),
        asked=str(verbs.spool(ctx.cloud)),
    )


def _helper(ctx: Context) -> str:
    """What has the supervisor run a command."""
    return str(ctx.release.program / "onestack" / "runtime" / "root-helper")


def _admit(ctx: Context) -> tuple[str, ...]:
    """What makes on the controller all that its hosts need there, any number of times."""
    return (str(LAUNCHER), "up", "--wait", "--name", ctx.cloud.name, "--root", str(ctx.cloud.root))


def _follow(ctx: Context) -> tuple[str, ...]:
    """What brings a host that has joined to what its controller says, if it is not there yet."""
    launcher, verb, *rest = _admit(ctx)
    return (launcher, verb, "--if-told", *rest)


def _front(ctx: Context) -> str:
    """The front's user: what it is sent by strangers it reads without the authority's key."""
    return ctx.cloud.user("doorway")


def _front_config(ctx: Context) -> Path:
    return hosts.directory(ctx) / "haproxy.cfg"


def _passage_config(ctx: Context) -> Path:
    return hosts.directory(ctx) / "passage.cfg"


def _front_text(ctx: Context) -> str:
    return Front(
        address=ctx.public,
        port=PORT,
        server=authority.server(ctx),
        ca=hosts.ca(ctx),
        revoked=authority.revoked(ctx),
        answers=_socket(ctx),
        run=_front_run(ctx),
        services=_services(ctx),
    ).text


def _services(ctx: Context) -> dict[str, str]:
    """The same places on each host of the cloud."""
    return {name: str(ctx.at(name)) for name in FOR_HOSTS if ctx.offers(name)}


def _front_run(ctx: Context) -> Path:
    return ctx.cloud.run / "doorway"


def _settings(ctx: Context) -> Path:
    return hosts.directory(ctx) / "door.json"


def _socket(ctx: Context) -> Path:
    return ctx.cloud.run / NAME / "api.sock"
