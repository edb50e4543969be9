"""chrony: the time of the servers that the operator names, for the machine and its guests.

Debian's package would put the host's own time service off the machine, so its
programs are unpacked into a directory of their own and nothing is installed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers, split
from onestack.components.chrony import measure
from onestack.host import debs
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Directory, KnownError, Task
from onestack.model.findings import Finding, info, warn
from onestack.model.host import EVERY_ROLE
from onestack.model.key import Key, Kind
from onestack.model.process import ExecProbe, Process

KEY = "CONFIG_NTP_SERVERS"
FAR = 1.0
"""Seconds of difference that are worth a warning; tokens and certificates still hold."""


def _wrong_servers(text: str) -> str | None:
    for server in split(text):
        try:
            ipaddress.ip_address(server)
        except ValueError:
            if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?", server):
                return f"{server!r} is neither an address nor a name of a server"
    return None


class Chrony(Component):
    name = "chrony"
    title = "Time"
    roles = EVERY_ROLE
    keys = (
        Key(
            KEY,
            "",
            "Time servers: the machine's clock follows them, unless a time service of its own or "
            "a container's walls are in the way, and DHCP names them to guests (those given by "
            "IPv4 address). Empty: the clock is left alone.",
            Kind.LIST,
            check=_wrong_servers,
        ),
    )
    known_errors = (
        KnownError(
            "Could not resolve address|Name or service not known",
            f"a name in {KEY} is not resolved",
            "write addresses, or see /etc/resolv.conf",
        ),
        KnownError(
            "Can't synchronise: no selectable sources",
            "no time server answers well enough",
            f"`onestack doctor` says which of {KEY}",
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[KEY])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if why := leaves_alone(ctx):
            yield warn(
                "the cloud compares the clock with CONFIG_NTP_SERVERS, and does not set it", why
            )
        names = [s for s in ctx.answers[KEY] if ":" in s or not s[-1].isdigit()]
        if names:
            yield warn(
                f"guests are not told of {', '.join(names)}",
                "DHCP for IPv4 can name a time server by its IPv4 address only",
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        found = measure.ask(_program(ctx, "chronyc"), str(_socket(ctx)))
        for source in found.sources:
            if source.answers:
                continue
            since = (
                f"for {source.heard:.0f} s" if source.heard >= 0 else "since chronyd was started"
            )
            yield warn(
                f"the time server {source.name} has not answered {since}",
                f"{KEY} names it",
                f"see whether it is reached (UDP port 123), or take it out of {KEY}",
            )
        if found.offset is None:
            yield warn("the clock could not be compared: no time server has answered well enough")
            return
        if abs(found.offset) < FAR:
            yield info(f"the clock is {measure.behind(found.offset)}")
            return
        yield warn(
            f"the clock is {measure.behind(found.offset)}",
            leaves_alone(ctx) or "it is being moved towards it slowly",
            "set it once: chronyc makestep, or timedatectl set-ntp yes for the machine's own",
        )

    def packages(self, ctx: Context) -> Iterable[str]:
        # What chronyd is linked with; the names are those of each Debian.
        later = "t64" if ctx.facts.os_version != "12" else ""
        yield from ("libcap2", "libedit2", f"libgnutls30{later}", f"libnettle8{later}")
        yield from ("libseccomp2", "tzdata")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        for place in (ctx.cloud.data, ctx.cloud.run):
            yield Directory(place / self.name, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(_config(ctx), _text(ctx), ctx.cloud.user(self.name))

    def processes(self, ctx: Context) -> Iterable[Process]:
        config, sets = _config(ctx), not leaves_alone(ctx)
        yield Process(
            name="chronyd",
            component=self.name,
            user=ctx.cloud.user(self.name),
            # -U: it need not be root for what it does here; its user is the one it has.
            argv=(
                *(_program(ctx, "chronyd"), "-d", "-U", "-u", ctx.cloud.user(self.name)),
                *(() if sets else ("-x",)),
                *("-f", str(config)),
            ),
            files=(str(config),),
            capabilities=("sys_time",) if sets else (),
            probe=ExecProbe(
                (_program(ctx, "chronyc"), "-h", str(_socket(ctx)), "activity"),
                seconds=20,
            ),
        )

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("program", lambda: ensure_program(ctx), ("packages",))


def leaves_alone(ctx: Context) -> str:
    """Why the machine's clock is none of this cloud's business; ``""`` when it is."""
    if ctx.cloud.netns:
        return "a cloud in a network namespace of its own leaves the machine's clock to the machine"
    for keeper in ctx.facts.timekeepers:
        if keeper.root == str(ctx.cloud.root):
            continue
        of = f", of the cloud in {keeper.root}," if keeper.root else ""
        return f"{keeper.name} (process {keeper.pid}){of} keeps this machine's time already"
    if not ctx.facts.may_set_clock:
        return "nothing here may set the clock (a container without the capability sys_time)"
    return ""


def ensure_program(ctx: Context) -> Iterator[Change]:
    """chronyd and chronyc of this Debian, unpacked for all clouds of the machine."""
    tree = _tree(ctx)
    if not tree.is_dir():
        yield Change(
            "unpack Debian's chrony beside the machine's own time service",
            lambda: debs.unpack(["chrony"], tree),
        )


def _tree(ctx: Context) -> Path:
    return CACHE / f"chrony-debian-{ctx.facts.os_version}"


def _program(ctx: Context, name: str) -> str:
    return str(_tree(ctx) / "usr" / ("sbin" if name == "chronyd" else "bin") / name)


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "chrony" / "chrony.conf"


def _socket(ctx: Context) -> Path:
    return ctx.cloud.run / "chrony" / "chronyd.sock"


def _text(ctx: Context) -> str:
    servers = "".join(f"server {server} iburst\n" for server in ctx.answers[KEY])
    return f"""{servers}driftfile {ctx.cloud.data}/chrony/drift
pidfile {ctx.cloud.run}/chrony/chronyd.pid
bindcmdaddress {_socket(ctx)}
# a client only: no port of it is open
port 0
cmdport 0
# a clock that is far off when the cloud starts is set at once, later it is moved slowly
makestep 1 3
"""
