"""Glance, the image service: images in files, or in the object store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import lasting, openstack
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Holding,
    Identity,
    KnownError,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding
from onestack.model.ini import Ini, Value, ini_text
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process

PORT = 9292
REFERENCE = "glance"
"""The one section of the file with the object store's credentials."""


_DATABASE = openstack.database_password("glance")
_ACCOUNT = openstack.service_password("glance")


class ObjectStore(Feature):
    """Images in the object store, all in the account of glance's own user."""

    name = "swift"
    title = "Images in the object store"

    def on(self, ctx: Context) -> bool:
        return ctx.offers("object-store")

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        # Not oslo.config's: the driver has credentials in a file of their own.
        account: dict[str, Value] = {
            "user": "service:glance",
            "key": ctx.secrets["glance_keystone"],
            "auth_address": openstack.keystone_url(ctx),
            "user_domain_id": "default",
            "project_domain_id": "default",
        }
        text = ini_text({REFERENCE: account})
        yield ConfigFile(account_file(ctx), text, ctx.cloud.user("glance"))


def account_file(ctx: Context) -> Path:
    return ctx.cloud.etc / "glance" / "swift.conf"


class Glance(Component):
    name = "glance"
    title = "Image"
    features = (ObjectStore(),)
    clients = ("glance",)
    meters = ("image.size",)
    tempest_service = "glance"
    provides = (Capability("image", ("glance-api",), port=PORT),)
    holdings = (Holding("/v2/images", {"owner": "{project}"}),)
    keys = (
        Key("CONFIG_GLANCE_INSTALL", "y", "Turn the image service on.", Kind.FLAG),
        _DATABASE.key,
        _ACCOUNT.key,
        Key(
            "CONFIG_GLANCE_BACKEND",
            "file",
            "Where new images go: into files, or into the object store (into files when that is "
            "off). Images that are there already stay where they are, and can be read.",
            Kind.CHOICE,
            ("file", "swift"),
        ),
    )
    known_errors = (
        KnownError(
            "Insufficient Storage",
            "the object store, where images go, is full",
            "delete images or objects, or choose a larger CONFIG_SWIFT_STORAGE_SIZE and run up "
            "again",
        ),
    )
    secrets = (_DATABASE.secret, _ACCOUNT.secret)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_GLANCE_INSTALL"])

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.database.server import server_of
        from onestack.database.upstream_tables import glance as tables

        things = tables.in_passing(server_of(ctx))
        yield from lasting.findings(
            things,
            frozenset(thing.state for thing in things),
            lambda image: f"openstack image delete {image.identity}, and upload it again",
        )

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        for path in (data, *(data / name for name in ("images", "staging", "tasks", "lock"))):
            yield Directory(path, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        data = ctx.cloud.data / self.name
        paste = ctx.release.services.place / "etc" / "glance" / "glance-api-paste.ini"
        swift = ctx.offers("object-store")
        default = str(ctx.answers["CONFIG_GLANCE_BACKEND"]) if swift else "file"
        # What it tells is all that it has to do with the bus.
        bus = {"transport_url": openstack.transport_url(ctx)} if openstack.listened_to(ctx) else {}
        yield ini_file(
            self._config(ctx),
            ctx.cloud.user(self.name),
            {
                "DEFAULT": {
                    **openstack.logging(ctx),
                    **bus,
                    "enabled_backends": ["file:file", *(["swift:swift"] if swift else [])],
                    "worker_self_reference_url": f"http://{ctx.internal}:{PORT}",
                },
                "glance_store": {"default_backend": default},
                "file": {"filesystem_store_datadir": str(data / "images")},
                **({"swift": self._swift(ctx)} if swift else {}),
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
        yield openstack.own_database(
            "glance", "glance/db/sqlalchemy/alembic_migrations/versions", self._config(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("glance", (Endpoint("glance", "image", PORT, "", "Image"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("glance", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = self._config(ctx)
        yield Process(
            name="glance-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.glance.inside.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            env={"OS_GLANCE_CONFIG_DIR": str(config.parent)},
            files=(str(config), *([str(account_file(ctx))] if ctx.offers("object-store") else [])),
            # Whoever uploads an image is told of over the bus.
            needs=("database", "cache", *(("messaging",) if ctx.offers("notifications") else ())),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v2/images?limit=1"),
        )

    def _swift(self, ctx: Context) -> dict[str, Value]:
        """The object store as a place for images: all in the account of glance's own user."""
        return {
            "swift_store_config_file": str(account_file(ctx)),
            "default_swift_reference": REFERENCE,
            "swift_store_create_container_on_put": True,
            "swift_store_endpoint_type": "internalURL",
            "swift_store_region": openstack.region(ctx),
            # A larger image becomes several objects of this size: the driver holds none of
            # them in memory, and a disk's last space is used better.
            "swift_store_large_object_size": 1024,
            "swift_store_large_object_chunk_size": 200,
        }

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {"image": {"region": openstack.region(ctx)}, "enforce_scope": {"glance": True}}

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "glance" / "glance-api.conf"
