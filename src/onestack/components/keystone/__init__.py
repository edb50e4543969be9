"""Keystone, the identity service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.registry import registry
from onestack.answers.values import Answers
from onestack.components import openstack, periodic
from onestack.components.keystone import ldap
from onestack.host.files import write_file
from onestack.model.change import Change
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
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.process import HttpProbe, Process
from onestack.model.secret import Secret

PORT = 5000
PROBE_USER = "onestack"
"""The cloud's own user: asks the APIs how they are."""


def _wrong_region(text: str) -> str | None:
    return None if re.fullmatch(r"[\w.-]{1,255}", text) else "use letters, digits and . _ -"


def _wrong_administrator(text: str) -> str | None:
    return "that is a service's own user" if text.casefold() in registry().accounts else None


_DATABASE = openstack.database_password("keystone")


class Keystone(Component):
    name = "keystone"
    title = "Identity"
    tempest_plugin = "keystone_tempest_plugin"
    provides = (
        Capability(
            "identity", ("keystone-api",), port=PORT, path="/v3", tasks=("keystone:project",)
        ),
    )
    keys = (
        _DATABASE.key,
        Key(
            "CONFIG_KEYSTONE_ADMIN_USERNAME",
            "admin",
            "Name of the first administrator.",
            check=_wrong_administrator,
        ),
        Key(
            "CONFIG_KEYSTONE_ADMIN_PW",
            "PW_PLACEHOLDER",
            "Password of the first administrator.",
            Kind.SECRET,
        ),
        Key(
            "CONFIG_KEYSTONE_ADMIN_EMAIL",
            "root@localhost",
            "E-mail address of the first administrator.",
        ),
        Key("CONFIG_KEYSTONE_REGION", "RegionOne", "Name of the region.", check=_wrong_region),
        Key(
            "CONFIG_KEYSTONE_FERNET_TOKEN_ROTATE_ENABLE",
            "y",
            "Change the keys of tokens once a week; tokens that are out stay good.",
            Kind.FLAG,
        ),
        *ldap.KEYS,
    )
    known_errors = (
        openstack.denied("keystone"),
        KnownError(
            r"ldap\.SERVER_DOWN|Can't contact LDAP server",
            f"the directory at {{{ldap.PREFIX}URL}} does not answer",
            f"check {ldap.PREFIX}URL, and its certificate ({ldap.PREFIX}TLS_CACERTFILE)",
        ),
        KnownError(
            r"ldap\.INVALID_CREDENTIALS",
            "the directory refuses the account to look with",
            f"check {ldap.PREFIX}USER_DN and {ldap.PREFIX}USER_PASSWORD",
        ),
    )
    secrets = (
        _DATABASE.secret,
        Secret("admin_keystone", "CONFIG_KEYSTONE_ADMIN_PW"),
        Secret(f"{PROBE_USER}_keystone", account=PROBE_USER),
        ldap.SECRET,
    )

    def validate(self, answers: Answers) -> Iterable[str]:
        return ldap.validate(answers)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ldap.PACKAGES if ldap.wanted(ctx.answers) else ()

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
                "identity": {
                    "password_hash_algorithm": "bcrypt",
                    "password_hash_rounds": 10,
                    **self._domains(ctx),
                },
                "cache": {
                    "enabled": True,
                    "backend": "oslo_cache.memcache_pool",
                    "memcache_servers": [str(ctx.at("cache"))],
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
        if ldap.wanted(ctx.answers):
            domain = ctx.answers[ldap.DOMAIN]
            yield ini_file(
                self._domain_directory(ctx) / f"keystone.{domain}.conf",
                ctx.cloud.user(self.name),
                ldap.sections(ctx.answers, ctx.secrets[ldap.SECRET.name]),
                "keystone",
            )
        yield periodic.script(ctx, self.name)
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
        yield openstack.own_database(
            "keystone", "keystone/common/sql/migrations/versions", self._config(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity(PROBE_USER, (Endpoint("keystone", "identity", PORT, "/v3", "Identity"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("keystone", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = self._config(ctx)
        yield Process(
            name="keystone-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.keystone.inside.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            env={"OS_KEYSTONE_CONFIG_DIR": str(config.parent)},
            files=tuple(str(file.path) for file in self.files(ctx) if file.ini),
            needs=("database", "cache"),
            probe=HttpProbe(f"http://{ctx.internal}:{PORT}/v3"),
        )
        if ctx.answers["CONFIG_KEYSTONE_FERNET_TOKEN_ROTATE_ENABLE"]:
            manage = str(ctx.release.services.command("keystone-manage"))
            yield periodic.process(
                ctx,
                self.name,
                "keystone-key-rotation",
                7 * periodic.DAY,
                (manage, "--config-file", str(config), "fernet_rotate"),
                ("keystone-api",),
            )

    def preload(self, ctx: Context) -> Iterable[str]:
        return ("cryptography.fernet", "flask", "flask_restful", "jsonschema", "bcrypt")

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "identity": {
                "auth_version": "v3",
                "uri_v3": ctx.public_url("identity"),
                "region": openstack.region(ctx),
                "v3_endpoint_type": "public",
                "ca_certificates_file": str(ctx.authority),
            },
            # Users of a directory elsewhere are not the cloud's to change.
            "identity-feature-enabled": {"immutable_user_source": ldap.wanted(ctx.answers)},
            "enforce_scope": {"keystone": True},
        }

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.identity import ensure_service_project
        from onestack.components.keystone.bootstrap import (
            ensure_bootstrap,
            ensure_domain,
            ensure_email,
            ensure_password,
        )
        from onestack.components.keystone.hosts import ensure_hosts

        yield Task(
            "keys", lambda: ensure_keys(ctx), ("users",), before_start=True, scope=Scope.CLOUD
        )
        yield Task(
            "bootstrap",
            lambda: ensure_bootstrap(ctx),
            ("database:keystone", "keystone:keys", "files:keystone"),
            before_start=True,
            scope=Scope.CLOUD,
        )
        if ldap.wanted(ctx.answers):
            # Before it serves: it reads a domain's own file only where there is the domain.
            name = str(ctx.answers[ldap.DOMAIN])
            before = ("keystone:bootstrap",)
            yield Task(
                "domain",
                lambda: ensure_domain(ctx, name),
                before,
                before_start=True,
                scope=Scope.CLOUD,
            )
        yield Task(
            "password", lambda: ensure_password(ctx), ("process:keystone-api",), scope=Scope.CLOUD
        )
        yield Task("email", lambda: ensure_email(ctx), ("keystone:password",), scope=Scope.CLOUD)
        yield Task(
            "project",
            lambda: ensure_service_project(ctx),
            ("keystone:password",),
            scope=Scope.CLOUD,
        )
        yield Task("hosts", lambda: ensure_hosts(ctx), ("keystone:project",), scope=Scope.CLOUD)

    def _domains(self, ctx: Context) -> dict[str, Value]:
        if not ldap.wanted(ctx.answers):
            return {}
        return {
            "domain_specific_drivers_enabled": True,
            "domain_config_dir": str(self._domain_directory(ctx)),
        }

    @staticmethod
    def _domain_directory(ctx: Context) -> Path:
        return ctx.cloud.etc / "keystone" / "domains"

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "keystone" / "keystone.conf"


def ensure_keys(ctx: Context) -> Iterator[Change]:
    """A staged key (0) and a primary key (1) for tokens, and two for credentials.

    Keystone sorts keys by number: the highest is primary, 0 comes next.
    """
    user = ctx.cloud.user("keystone")
    for repository in ("fernet", "credential"):
        place = ctx.cloud.data / "keystone" / repository
        present = {path.name for path in place.glob("[0-9]*")}
        # Rotated, the primary one has another number.
        missing = [*({"0"} - present), *([] if present - {"0"} else ["1"])]
        for number in missing:
            path = place / number

            def make(path: Path = path) -> None:
                from cryptography.fernet import Fernet

                key = Fernet.generate_key().decode()
                write_file(path, key, mode=0o600, owner=user, group=user)

            yield Change(f"make {repository} key {number}", make)
