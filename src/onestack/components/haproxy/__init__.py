"""HAProxy: the one front of all APIs, on the public address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.haproxy import inspect, keys
from onestack.components.haproxy.paths import front_file, tls_directory
from onestack.host.files import ensure_file
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context, in_url
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    Frontend,
    KnownError,
    Task,
)
from onestack.model.findings import Finding, refuse, warn
from onestack.model.process import HttpProbe, Process

KEY = "CONFIG_CONTROLLER_HOST"
ALIVE = "/-/front"
"""Answered by the front itself, whatever is behind it."""
GUESTS = """\
    # what guests may have of all that the front can hold, and one of them of that
    maxconn 500
    stick-table type ip size 10k expire 10m store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if { sc0_conn_cur gt 32 }
"""
"""For ports at other addresses than the public one: whoever is there does not stop the APIs."""


class Haproxy(Component):
    name = "haproxy"
    title = "TLS front"
    provides = (
        Capability("frontend", ("haproxy",), tasks=("haproxy:certificate",)),
        Capability("authority", tasks=("haproxy:certificate",)),
    )
    keys = keys.KEYS
    known_errors = (
        KnownError(
            r"cannot bind socket[^\n]*Cannot assign requested address",
            "the machine does not have the address in that line any more, or had it not yet",
            "`onestack doctor` says whether the cloud is to be at another one; up again goes there",
        ),
        KnownError(
            "cannot bind socket", "a port on {public} is taken", "`onestack doctor` says by whom"
        ),
    )

    def validate(self, answers: Answers) -> Iterable[str]:
        return keys.validate(answers)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if own := keys.own(ctx.answers):
            for wrong in inspect.problems(own, ctx.public):
                yield refuse(
                    f"the certificate for all ports does not fit https://{ctx.public}",
                    wrong,
                    f"have one made for the address {ctx.public}, or set CONFIG_CONTROLLER_HOST",
                )
        if not ctx.cloud.netns and not ctx.facts.public_here:
            if not (ctx.answers[KEY] or ctx.facts.route_address):
                yield refuse(
                    f"the machine does not have {ctx.public} now, nor a way to anywhere",
                    "the cloud is there, and stays there until the machine has another one",
                    "once the network is back (ip -br address), the same again; for this machine "
                    f"alone: onestack up --set {KEY}=127.0.0.1",
                )
                return
            now = ctx.facts.route_address
            mend = f"onestack up --set {KEY}={now}, if the machine has that now; else " * bool(now)
            yield refuse(
                f"{ctx.public} is no address of this machine",
                f"the cloud's ports are to be opened there ({KEY})",
                f"{mend}leave {KEY} out, or name one of: ip -br address",
            )
        elif ctx.facts.former_address:
            anew = "its users need admin-openrc or clouds.yaml anew then"
            yield warn(*self._moved(ctx), f"onestack up goes there; {anew}")

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        if ctx.facts.former_address and (ctx.cloud.netns or ctx.facts.public_here):
            yield refuse(*self._moved(ctx), "onestack up")

    @staticmethod
    def _moved(ctx: Context) -> tuple[str, str]:
        before = ctx.facts.former_address
        if ctx.answers[KEY]:
            why = f"{KEY} says so"
        elif ctx.cloud.netns:
            why = f"that is the address of a network namespace's cloud where no {KEY} is answered"
        elif before.startswith("127."):
            why = "the machine had no other address when the cloud was made"
        else:
            why = f"the machine does not have {before} any more"
        return f"the cloud is at {before}, and is to be at {ctx.public}", why

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("haproxy",)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(tls_directory(ctx), mode=0o755)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(self._config(ctx), self._text(ctx), ctx.cloud.user(self.name))

    def processes(self, ctx: Context) -> Iterable[Process]:
        fronts = _frontends(ctx)
        if not fronts:
            return
        config = str(self._config(ctx))
        certificates = {str(front_file(ctx, front)) for front in fronts if not front.plain}
        low = any(front.port < 1024 for front in fronts)
        asked = _asked(fronts)
        scheme, host = "http" if asked.plain else "https", in_url(asked.address or ctx.public)
        yield Process(
            name="haproxy",
            component=self.name,
            user=ctx.cloud.user(self.name),
            argv=("/usr/sbin/haproxy", "-db", "-f", config),
            files=(config, *sorted(certificates)),
            capabilities=("net_bind_service",) if low else (),
            probe=HttpProbe(f"{scheme}://{host}:{asked.port}{ALIVE}", seconds=15),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.haproxy.tls import ensure_tls

        group = ctx.cloud.user(self.name)
        if _frontends(ctx):
            yield Task("address", lambda: ensure_address(ctx), ("process:haproxy",))
        yield Task("certificate", lambda: ensure_tls(ctx, group), ("users",), before_start=True)

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "haproxy" / "haproxy.cfg"

    def _text(self, ctx: Context) -> str:
        head = """global
    log stderr format raw local0 notice
    maxconn 2000
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    tune.ssl.default-dh-param 2048

defaults
    mode http
    log global
    option dontlognull
    timeout connect 5s
    # an image of many gigabytes may be on its way, and an API may think for minutes
    timeout client 10m
    timeout server 10m
    timeout http-request 30s
    timeout tunnel 8h
    # a service that closes an idle connection just when the next request goes out
    # on it would make that request fail
    option http-server-close
"""
        fronts = _frontends(ctx)
        return head + "".join(_listen(ctx, front, front is _asked(fronts)) for front in fronts)


def _asked(fronts: list[Frontend]) -> Frontend:
    """The one at which the front itself is asked; another address may come later than it."""
    return min(fronts, key=lambda front: (bool(front.address), front.tcp))


def _listen(ctx: Context, front: Frontend, asked: bool) -> str:
    """The section of one port."""
    tls = "" if front.plain else f" ssl crt {front_file(ctx, front)}"
    if tls and not front.tcp:
        tls += " alpn http/1.1"
    # "transparent" is a bind to an address that need not be there yet.
    place = f"{front.address}:{front.port} transparent" if front.address else ""
    bind = f"""
listen {front.name}
    bind {place or f"{ctx.public}:{front.port}"}{tls}
"""
    if front.address:
        bind += GUESTS
    if front.tcp:
        # Both ends of the bus say once a minute that they are there.
        return f"""{bind}\
    mode tcp
    server {front.name} {front.backend}
"""
    if asked:
        bind += f"    monitor-uri {ALIVE}\n"
    if not front.backend:
        return f"{bind}    http-request redirect scheme https code 301\n"
    return f"""{bind}\
    http-request set-header X-Forwarded-Proto {"http" if front.plain else "https"}
    http-request del-header X-Forwarded-For
    option forwardfor
    server {front.name} {front.backend}
"""


def ensure_address(ctx: Context) -> Iterator[Change]:
    """What later runs find of where the cloud is: written once its front is there."""
    yield from ensure_file(ctx.cloud.address_file, f"{ctx.public}\n")


def _frontends(ctx: Context) -> list[Frontend]:
    return [front for declared in ctx.model for front in declared.frontends]
