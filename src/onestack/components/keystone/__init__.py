"""Keystone, the identity service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.key import Key, Kind
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
    Task,
    ini_file,
)
from onestack.host.change import Change
from onestack.host.files import write_file
from onestack.supervise.spec import Probe, Process

PORT = 5000
PROBE_USER = "onestack"
"""The cloud's own user: asks the APIs how they are."""


class Keystone(Component):
    name = "keystone"
    title = "Identity"
    provides = ("identity",)
    keys = (
        Key(
            "CONFIG_KEYSTONE_DB_PW",
            "PW_PLACEHOLDER",
            "Password of keystone's database user.",
            Kind.SECRET,
        ),
        Key("CONFIG_KEYSTONE_ADMIN_USERNAME", "admin", "Name of the first administrator."),
        Key(
            "CONFIG_KEYSTONE_ADMIN_PW",
            "PW_PLACEHOLDER",
            "Password of the first administrator.",
            Kind.SECRET,
        ),
        Key("CONFIG_KEYSTONE_REGION", openstack.REGION, "Name of the region."),
    )

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        for path in (data, data / "fernet", data / "credential"):
            yield Directory(path, user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        data = ctx.cloud.data / self.name
        yield ini_file(
            self._config(ctx),
            ctx.cloud.user(self.name),
            {
                "DEFAULT": openstack.logging(ctx),
                "database": openstack.database(ctx, "keystone", "keystone"),
                "token": {"provider": "fernet"},
                "fernet_tokens": {"key_repository": str(data / "fernet"), "max_active_keys": 3},
                "fernet_receipts": {"key_repository": str(data / "fernet"), "max_active_keys": 3},
                "credential": {"key_repository": str(data / "credential")},
                # Ten rounds are the least OWASP advises for bcrypt (upstream's twelve cost
                # four times as much at each login).
                "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": 10},
                "cache": {
                    "enabled": True,
                    "backend": "oslo_cache.memcache_pool",
                    "memcache_servers": [f"{ctx.internal}:11211"],
                },
                "oslo_messaging_notifications": {"driver": "noop"},
                **openstack.proxied(),
            },
            "keystone",
            "oslo.log",
            "oslo.db",
            "oslo.cache",
            "oslo.messaging",
            "oslo.middleware",
        )
        administrator = {
            "username": ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"],
            "password": ctx.secrets["admin_keystone"],
        }
        yield ConfigFile(
            ctx.cloud.etc / "keystone" / "admin.json",
            json.dumps(administrator),
            ctx.cloud.user(self.name),
        )
        yield ConfigFile(
            ctx.cloud.etc / "probe.json",
            json.dumps(
                {
                    "username": PROBE_USER,
                    "password": ctx.secrets[f"{PROBE_USER}_keystone"],
                    "project_name": "service",
                    "domain": "Default",
                }
            ),
            mode=0o600,
        )

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield Database(
            "keystone",
            "keystone",
            "onestack.components.keystone.jobs:sync",
            ("keystone/common/sql/migrations/versions",),
            (self._config(ctx),),
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity(PROBE_USER, (Endpoint("keystone", "identity", PORT, "/v3", "Identity"),))

    def fronts(self, ctx: Context) -> Iterable[Front]:
        yield Front("keystone", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = self._config(ctx)
        yield Process(
            name="keystone-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.keystone.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            env={"OS_KEYSTONE_CONFIG_DIR": str(config.parent)},
            files=(str(config),),
            needs=("mariadb", "memcached"),
            probe=Probe("http", f"http://{ctx.internal}:{PORT}/v3"),
        )

    def preload(self, ctx: Context) -> Iterable[str]:
        return ("cryptography.fernet", "flask", "flask_restful", "jsonschema", "bcrypt")

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.identity import ensure_service_project
        from onestack.components.keystone.bootstrap import ensure_bootstrap, ensure_password

        yield Task("keys", lambda: ensure_keys(ctx), ("users",), before_start=True)
        yield Task(
            "bootstrap",
            lambda: ensure_bootstrap(ctx),
            ("database:keystone", "keystone:keys", "files:keystone"),
            before_start=True,
        )
        yield Task("password", lambda: ensure_password(ctx), ("process:keystone-api",))
        yield Task("project", lambda: ensure_service_project(ctx), ("keystone:password",))

    def explain(self, ctx: Context, text: str) -> str | None:
        if "Access denied for user 'keystone'" in text:
            return "keystone's database password is not the one in its configuration; run up again"
        return None

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "keystone" / "keystone.conf"


def ensure_keys(ctx: Context) -> Iterator[Change]:
    """A staged key (0) and a primary key (1) for tokens, and two for credentials.

    Keystone sorts keys by number: the highest is primary, 0 comes next.
    """
    user = ctx.cloud.user("keystone")
    for repository in ("fernet", "credential"):
        for number in ("0", "1"):
            path = ctx.cloud.data / "keystone" / repository / number
            if not path.exists():

                def make(path: Path = path) -> None:
                    from cryptography.fernet import Fernet

                    key = Fernet.generate_key().decode()
                    write_file(path, key, mode=0o600, owner=user, group=user)

                yield Change(f"make {repository} key {number}", make)
