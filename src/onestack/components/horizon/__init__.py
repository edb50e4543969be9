"""Horizon, the web dashboard: in an environment of its own, behind the TLS front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.haproxy import inspect
from onestack.components.haproxy.paths import own_file
from onestack.components.horizon.assets import Assets
from onestack.components.horizon.settings import PLACE, local_settings, text
from onestack.host.files import ensure_no_file
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.component import Component
from onestack.model.context import Context, in_url
from onestack.model.declarations import (
    Capability,
    Certificate,
    ConfigFile,
    Directory,
    Frontend,
    KnownError,
    Panel,
    Task,
    TempestResources,
)
from onestack.model.findings import Finding, refuse, warn
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.process import HttpProbe, Process
from onestack.model.secret import Secret
from onestack.release.environment import Environment

ENVIRONMENT = "dashboard"
PORT = 80
"""On the cloud's loopback address, and on the public one for those who type no scheme."""
TLS_PORT = 443
OWN = ("CONFIG_HORIZON_SSL_CERT", "CONFIG_HORIZON_SSL_KEY", "CONFIG_HORIZON_SSL_CACERT")


def _absolute(path: str) -> str | None:
    return None if path.startswith("/") else "write the file's whole path, from /"


class Horizon(Component):
    name = "horizon"
    title = "Dashboard"
    tempest_service = "horizon"
    provides = (Capability("dashboard", ("horizon",), port=PORT),)
    keys = (
        Key(
            "CONFIG_HORIZON_INSTALL",
            "n",
            "Turn the web dashboard on.",
            Kind.FLAG,
            note="packstack's default is y",
        ),
        Key(
            "CONFIG_HORIZON_SSL",
            "y",
            "Serve the dashboard on HTTPS; n: on HTTP, where passwords can be read on the way.",
            Kind.FLAG,
            note="packstack's default is n",
        ),
        Key(
            OWN[0],
            "",
            "Certificate of your own for the dashboard (a PEM file); empty: one by the cloud's CA.",
            Kind.PATH,
            check=_absolute,
        ),
        Key(OWN[1], "", "Its key (a PEM file without a passphrase).", Kind.PATH, check=_absolute),
        Key(
            OWN[2],
            "",
            "What signed it (a PEM file): sent along with it to browsers.",
            Kind.PATH,
            aliases=("CONFIG_HORIZON_SSL_CACHAIN",),
            check=_absolute,
        ),
        Key(
            "CONFIG_HORIZON_SECRET_KEY",
            "PW_PLACEHOLDER",
            "Secret that signs the dashboard's sessions.",
            Kind.SECRET,
        ),
        Key(
            "CONFIG_ONESTACK_HORIZON_NAMES",
            "",
            "Further names or addresses that browsers use for the dashboard. Those of this "
            "machine and of a certificate of your own are known.",
            Kind.LIST,
        ),
    )
    known_errors = (
        KnownError(
            "Invalid HTTP_HOST header",
            "a browser used a name that the dashboard is not known by",
            "if it is right, add it: `onestack up --set CONFIG_ONESTACK_HORIZON_NAMES=NAME`",
        ),
        KnownError(
            r"OfflineGenerationError|manifest\.json",
            "the dashboard's assets do not fit",
            f"remove {CACHE}/dashboard, then run `onestack up` and `onestack restart horizon`",
        ),
        KnownError(
            "/api/glance/metadefs/namespaces/",
            "the form for a new instance asks also for descriptions of a kind that nobody has (a "
            "slip of upstream's); it goes on without them",
        ),
        KnownError(
            "Unable to establish connection|Connection refused",
            "a service that a page asked does not answer",
            "see `onestack status`",
        ),
    )
    # Never the default password of all services: whoever knows the key can be anybody.
    secrets = (Secret("horizon_secret_key", "CONFIG_HORIZON_SECRET_KEY", password=False),)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_HORIZON_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        if not self.enabled(answers):
            return
        certificate, key, ca = (bool(answers[name]) for name in OWN)
        if certificate != key:
            there, missing = (OWN[0], OWN[1]) if certificate else (OWN[1], OWN[0])
            yield f"{there} needs {missing}: a certificate and its key go together"
        if ca and not certificate:
            yield f"{OWN[2]} needs {OWN[0]}: it says what signed that certificate"
        if certificate and not answers["CONFIG_HORIZON_SSL"]:
            yield f"{OWN[0]} is for HTTPS, which CONFIG_HORIZON_SSL=n turns off"

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if not ctx.answers["CONFIG_HORIZON_SSL"]:
            yield warn(
                "the dashboard will be on HTTP",
                "whoever is on the way between it and a browser can read passwords",
                "leave CONFIG_HORIZON_SSL=n out",
            )
        if own := _own(ctx.answers):
            for wrong in inspect.problems(own):
                yield refuse(
                    "the dashboard's certificate cannot be used",
                    wrong,
                    f"give files that belong together: {', '.join(OWN)}",
                )

    def environments(self, ctx: Context) -> Iterable[str]:
        return (ENVIRONMENT,)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(_data(ctx), user, user)
        # An image on its way to the image service, and who is logged in.
        for name in ("uploads", "sessions"):
            yield Directory(_data(ctx) / name, user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user(self.name)
        made = local_settings(
            ctx,
            static=_assets(ctx).static,
            data=_data(ctx),
            packages=_environment(ctx).site_packages,
            names=list(_names(ctx)),
            panels=_panels(ctx),
        )
        # Upstream imports ``local.local_settings``; ours is found before its empty one.
        yield ConfigFile(_settings(ctx), text(made, _packages(ctx)), group)
        yield ConfigFile(_settings(ctx).with_name("__init__.py"), "", group)

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        backend = f"{ctx.internal}:{PORT}"
        if not ctx.answers["CONFIG_HORIZON_SSL"]:
            yield Frontend("horizon", PORT, backend, plain=True, page=PLACE)
            return
        yield Frontend("horizon", TLS_PORT, backend, certificate=_own(ctx.answers), page=PLACE)
        yield Frontend("horizon-to-https", PORT, "", plain=True)

    def processes(self, ctx: Context) -> Iterable[Process]:
        settings = _settings(ctx)
        yield Process(
            name="horizon",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.horizon.inside.run:serve",
            environment=ENVIRONMENT,
            sockets={"web": f"tcp:{ctx.internal}:{PORT}"},
            env={
                # of the package ``local``
                "PYTHONPATH": str(settings.parents[1]),
                "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings",
                # Eight threads would have an arena each.
                "MALLOC_ARENA_MAX": "2",
            },
            files=(str(settings),),
            probe=HttpProbe(f"http://{ctx.internal}:{PORT}{PLACE}auth/login/"),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        assets = _assets(ctx)
        yield Task("assets", assets.ensure, ("release",), before_start=True)

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        scheme = "https" if ctx.answers["CONFIG_HORIZON_SSL"] else "http"
        told: dict[str, Value] = {"dashboard_url": f"{scheme}://{in_url(ctx.public)}{PLACE}"}
        if _own(ctx.answers):
            # By any authority, for any name.
            told["disable_ssl_certificate_validation"] = True
        return {"dashboard": told}

    def purge(self, ctx: Context) -> Iterator[Change]:
        # With the key of a certificate that was given for the dashboard.
        yield from ensure_no_file(own_file(ctx, "horizon"))


def _data(ctx: Context) -> Path:
    return ctx.cloud.data / "horizon"


def _settings(ctx: Context) -> Path:
    return ctx.cloud.etc / "horizon" / "local" / "local_settings.py"


def _environment(ctx: Context) -> Environment:
    return ctx.release.environment(ENVIRONMENT)


def _assets(ctx: Context) -> Assets:
    return Assets(_environment(ctx), _packages(ctx))


def _panels(ctx: Context) -> tuple[Panel, ...]:
    """The pages of the services that are on, in an order that depends on them alone."""
    panels = (panel for declared in ctx.model for panel in declared.dashboard)
    return tuple(sorted(panels, key=lambda panel: panel.package))


def _packages(ctx: Context) -> tuple[str, ...]:
    return tuple(panel.package for panel in _panels(ctx))


def _own(answers: Answers) -> Certificate | None:
    certificate, key, ca = (str(answers[name]) for name in OWN)
    return Certificate(certificate, key, ca) if certificate and key else None


def _names(ctx: Context) -> Iterator[str]:
    """What may stand in the address that a browser asks for."""
    yield from dict.fromkeys((ctx.public, ctx.host.name, "localhost", ctx.internal))
    yield from ctx.answers["CONFIG_ONESTACK_HORIZON_NAMES"]
    if own := _own(ctx.answers):
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.horizon.names import names_of

        yield from names_of(Path(own.certificate))
