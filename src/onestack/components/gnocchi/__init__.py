"""Gnocchi, the store of metrics: an index in the database, measures in files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import openstack, telemetry
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Identity,
    KnownError,
    ini_file,
)
from onestack.model.findings import Finding, refuse
from onestack.model.ini import Ini
from onestack.model.key import Class, Key, Kind
from onestack.model.process import ApiProbe, Process

PORT = 8041
SACKS = 8
"""Parts of the backlog: as many workers could share it, and each is looked into each time."""

PATIENCE = 120
"""Seconds after which a measure that was taken in should have been counted."""

NAMESPACES = ("gnocchi", "keystonemiddleware.auth_token", "oslo.db")


_DATABASE = openstack.database_password("gnocchi")
_ACCOUNT = openstack.service_password("gnocchi")


class Gnocchi(Component):
    name = "gnocchi"
    title = "Metrics"
    tempest_service = "gnocchi"
    tempest_plugin = "telemetry_tempest_plugin"
    provides = (Capability("metric", ("gnocchi",), port=PORT),)
    keys = (
        Key(
            "CONFIG_GNOCCHI_INSTALL",
            "n",
            "Turn the store of metrics on.",
            Kind.FLAG,
            outcome=Class.MAPPED,
            note="the store comes with CONFIG_CEILOMETER_INSTALL=y, which has no other, and "
            "never without",
        ),
        _DATABASE.key,
        _ACCOUNT.key,
        Key(
            "CONFIG_MONGODB_HOST",
            "",
            "Host of the MongoDB server for metering.",
            outcome=Class.MAPPED,
            note="upstream's metering left MongoDB; its store is Gnocchi, in files of this cloud",
        ),
    )
    known_errors = (
        KnownError(
            "No space left on device", "the disk of {data} is full", "make room: `df -h {data}`"
        ),
        openstack.denied("gnocchi"),
        KnownError(
            "possible data corruption",
            "a file of measures was not written whole (a power cut)",
            "it is in {data}/gnocchi/measures and may be removed",
        ),
        KnownError(
            "Unable to detect the number of storage sacks|SackDetectionError",
            "{data}/gnocchi/measures is not as the store made it",
            "`onestack restart gnocchi` makes what is missing",
        ),
    )
    secrets = (_DATABASE.secret, _ACCOUNT.secret)

    def enabled(self, answers: Answers) -> bool:
        return telemetry.metering(answers)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        for path in (data, *(data / name for name in ("measures", "coordination"))):
            yield Directory(path, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group, config = ctx.cloud.user(self.name), _config(ctx)
        yield ini_file(config, group, _sections(ctx), *NAMESPACES)
        upstream = ctx.release.services.read("gnocchi/rest/api-paste.ini")
        yield ConfigFile(_paste(ctx), openstack.pipeline(upstream, config), group)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database("gnocchi", "gnocchi/indexer/alembic/versions", _config(ctx))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("gnocchi", (Endpoint("gnocchi", "metric", PORT, "", "Metrics"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("gnocchi", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        yield Process(
            name="gnocchi",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.gnocchi.inside.run:all_of_it",
            arguments={"config": config, "sacks": SACKS},
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            files=(config, str(_paste(ctx))),
            needs=("database", "cache"),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v1/archive_policy"),
        )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        waiting = list(_waiting(ctx))
        age = time.time() - min(waiting, default=time.time())
        if age > PATIENCE:
            yield refuse(
                f"{len(waiting)} batches of measures wait to be counted, the oldest since "
                f"{int(age)} s",
                cure="onestack logs gnocchi; onestack restart gnocchi",
            )


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "gnocchi" / "gnocchi.conf"


def _measures(ctx: Context) -> Path:
    return ctx.cloud.data / "gnocchi" / "measures"


def _waiting(ctx: Context) -> Iterator[float]:
    """When each batch of measures that is not counted yet came in."""
    for path in _measures(ctx).glob("incoming*/*/*"):
        with contextlib.suppress(FileNotFoundError):  # counted meanwhile
            yield path.stat().st_mtime


def _paste(ctx: Context) -> Path:
    return ctx.cloud.etc / "gnocchi" / "api-paste.ini"


def _sections(ctx: Context) -> Ini:
    data = ctx.cloud.data / "gnocchi"
    database = openstack.database(ctx, "gnocchi", "gnocchi")
    url = database.pop("connection")
    return {
        "DEFAULT": {
            "debug": bool(ctx.answers["CONFIG_DEBUG_MODE"]),
            "coordination_url": f"file://{data}/coordination",
            "parallel_operations": 2,
        },
        "api": {
            "auth_mode": "keystone",
            "paste_config": str(_paste(ctx)),
            "enable_proxy_headers_parsing": True,
        },
        "indexer": {"url": url},
        "database": database,
        "storage": {"driver": "file", "file_basepath": str(_measures(ctx))},
        "metricd": {
            # Files tell nobody that there are new ones: they are looked for. What was
            # measured can be read, and an alarm can see it, after so many seconds.
            "metric_processing_delay": 5,
        },
        "keystone_authtoken": openstack.authtoken(ctx, "gnocchi", "metric"),
    }
