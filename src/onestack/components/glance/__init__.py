"""Glance, the image service, on a file store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.key import Key, Kind
from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.base import (
    Component,
    ConfigFile,
    Context,
    Database,
    Directory,
    Endpoint,
    Front,
    Identity,
    ini_file,
)
from onestack.supervise.spec import Probe, Process

PORT = 9292


class Glance(Component):
    name = "glance"
    title = "Image"
    keys = (
        Key("CONFIG_GLANCE_INSTALL", "y", "Turn the image service on.", Kind.FLAG),
        Key(
            "CONFIG_GLANCE_DB_PW",
            "PW_PLACEHOLDER",
            "Password of glance's database user.",
            Kind.SECRET,
        ),
        Key(
            "CONFIG_GLANCE_KS_PW",
            "PW_PLACEHOLDER",
            "Password of glance's service user.",
            Kind.SECRET,
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_GLANCE_INSTALL"])

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        for path in (data, *(data / name for name in ("images", "staging", "tasks", "lock"))):
            yield Directory(path, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        data = ctx.cloud.data / self.name
        paste = ctx.release.services / "etc" / "glance" / "glance-api-paste.ini"
        yield ini_file(
            self._config(ctx),
            ctx.cloud.user(self.name),
            {
                "DEFAULT": {
                    **openstack.logging(ctx),
                    "transport_url": openstack.transport_url(ctx),
                    "enabled_backends": ["file:file"],
                    "worker_self_reference_url": f"http://{ctx.internal}:{PORT}",
                },
                "glance_store": {"default_backend": "file"},
                "file": {"filesystem_store_datadir": str(data / "images")},
                "os_glance_staging_store": {"filesystem_store_datadir": str(data / "staging")},
                "os_glance_tasks_store": {"filesystem_store_datadir": str(data / "tasks")},
                "database": openstack.database(ctx, "glance", "glance"),
                "keystone_authtoken": openstack.authtoken(ctx, "glance", "image"),
                "paste_deploy": {"flavor": "keystone", "config_file": str(paste)},
                "oslo_concurrency": openstack.locks(ctx, self.name),
                **openstack.notifications(ctx),
                **openstack.proxied(),
            },
            "glance.api",
            "glance.store",
            "glance.multi_store",
            "keystonemiddleware.auth_token",
            "oslo.concurrency",
            "oslo.db",
            "oslo.log",
            "oslo.messaging",
            "oslo.middleware",
        )

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield Database(
            "glance",
            "glance",
            "onestack.components.glance.jobs:sync",
            ("glance/db/sqlalchemy/alembic_migrations/versions",),
            (self._config(ctx),),
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("glance", (Endpoint("glance", "image", PORT, "", "Image"),))

    def fronts(self, ctx: Context) -> Iterable[Front]:
        yield Front("glance", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = self._config(ctx)
        yield Process(
            name="glance-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.glance.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            env={"OS_GLANCE_CONFIG_DIR": str(config.parent)},
            files=(str(config),),
            needs=("mariadb", "memcached"),
            probe=Probe("api", f"http://{ctx.internal}:{PORT}/v2/images?limit=1"),
        )

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "glance" / "glance-api.conf"
