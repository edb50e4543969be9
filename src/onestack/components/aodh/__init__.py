"""Aodh, the alarms: on metrics that leave their bounds, and on events."""

from __future__ import annotations

from collections.abc import Iterable
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
from onestack.model.ini import Ini
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process

PORT = 8042

NAMESPACES = (
    *openstack.NAMESPACES,
    "aodh",
    "aodh-auth",
)


_DATABASE = openstack.database_password("aodh")
_ACCOUNT = openstack.service_password("aodh")


class Aodh(Component):
    name = "aodh"
    title = "Alarms"
    tempest_service = "aodh"
    tempest_plugin = "telemetry_tempest_plugin"
    provides = (Capability("alarming", ("aodh",), port=PORT),)
    keys = (
        Key(
            "CONFIG_AODH_INSTALL",
            "n",
            "Turn alarms on; only effective with CONFIG_CEILOMETER_INSTALL=y.",
            Kind.FLAG,
        ),
        _DATABASE.key,
        _ACCOUNT.key,
        telemetry.CLOUDWATCH,
    )
    known_errors = (
        KnownError(
            "CERTIFICATE_VERIFY_FAILED|SSLError",
            "an alarm's action goes to a server whose certificate this cloud's authority did not "
            "sign",
            "the authority's own is {root}/etc/tls/ca.pem",
        ),
        KnownError(
            "Unable to notify alarm",
            "an alarm's action could not be carried out",
            "the lines that follow say why, and `openstack alarm show ALARM` has its address",
        ),
        KnownError(
            "alarm statistics retrieval failed",
            "Gnocchi did not answer",
            "see `onestack status`, then `onestack logs gnocchi`",
        ),
        openstack.denied("aodh"),
    )
    secrets = (_DATABASE.secret, _ACCOUNT.secret)

    def enabled(self, answers: Answers) -> bool:
        return telemetry.alarms(answers)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group, config = ctx.cloud.user(self.name), _config(ctx)
        yield ini_file(config, group, _sections(ctx), *NAMESPACES)
        upstream = ctx.release.services.read("aodh/api/api-paste.ini")
        yield ConfigFile(_paste(ctx), openstack.pipeline(upstream, config), group)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database(
            "aodh", "aodh/storage/sqlalchemy/alembic/versions", _config(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("aodh", (Endpoint("aodh", "alarming", PORT, "", "Alarms"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("aodh", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        yield Process(
            name="aodh",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.aodh.inside.run:all_of_it",
            arguments={"config": config},
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            files=(config, str(_paste(ctx))),
            needs=("database", "cache", "messaging", "metric"),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v2/alarms?limit=1"),
        )


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "aodh" / "aodh.conf"


def _paste(ctx: Context) -> Path:
    return ctx.cloud.etc / "aodh" / "api-paste.ini"


def _sections(ctx: Context) -> Ini:
    interval = int(ctx.answers[telemetry.INTERVAL])
    authority = str(ctx.authority)
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "transport_url": openstack.transport_url(ctx),
            # Each of the two listeners would come to have 64.
            "executor_thread_pool_size": 4,
            # An action may be a URL of this cloud's own front, such as one that Heat gave out.
            "rest_notifier_ca_bundle_certificate_path": authority,
            # A measure is known so much later than its period ended, and a rate needs the one
            # before the first as well: with less, alarms would find too few.
            "additional_ingestion_lag": 2 * interval,
            # so long may a new alarm on an event not be known yet
            "event_alarm_cache_ttl": 5,
        },
        "api": {
            "paste_config": str(_paste(ctx)),
            "gnocchi_external_project_owner": "service",
            "gnocchi_external_domain_name": "Default",
        },
        "database": openstack.database(ctx, "aodh", "aodh"),
        "keystone_authtoken": openstack.authtoken(ctx, "aodh", "alarming"),
        "service_credentials": {
            **openstack.credentials(ctx, "aodh", "interface"),
            # Trusts are made at keystone's public address, whatever that interface is.
            "cafile": authority,
        },
        "evaluator": {"evaluation_interval": interval},
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }
