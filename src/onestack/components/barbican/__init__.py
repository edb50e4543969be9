"""Barbican, the key manager: secrets, certificates and keys of projects, encrypted at rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.barbican import master_keys
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
from onestack.model.findings import Finding, refuse
from onestack.model.ini import Ini, MultiOpt
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process
from onestack.model.secret import Secret

INSTALL = "CONFIG_ONESTACK_BARBICAN_INSTALL"
PORT = 9311
ROLES = ("creator", "observer", "audit")
"""Upstream's own until 2025. Membership counts today; instructions of all years grant these."""

NAMESPACES = (
    *openstack.NAMESPACES,
    "barbican.common.config",
    "barbican.plugin.crypto",
    "barbican.plugin.crypto.simple",
    "barbican.plugin.secret_store",
)


class Barbican(Component):
    name = "barbican"
    title = "Key manager"
    tempest_service = "barbican"
    tempest_plugin = "barbican_tempest_plugin"
    provides = (Capability("key-manager", ("barbican",), port=PORT),)
    keys = (
        Key(
            INSTALL,
            "n",
            "Turn the key manager (Barbican) on. With it a load balancer of amphorae can end TLS, "
            "with a certificate from there.",
            Kind.FLAG,
        ),
        Key(
            master_keys.KEY,
            "PW_PLACEHOLDER",
            "Key that encrypts the keys with which Barbican's secrets are encrypted: 32 bytes in "
            "base64, with - and _. To change it, write the new one, a comma, and the earlier one; "
            "once `up` has ended, the earlier one can go. CONFIG_DEFAULT_PASSWORD does not apply.",
            Kind.SECRET,
            check=master_keys.wrong,
        ),
    )
    known_errors = (
        openstack.denied("barbican"),
        KnownError(
            r"cryptography\.fernet\.InvalidToken",
            f"{master_keys.KEY} is not the key with which Barbican's secrets were kept",
            "put the earlier one back, after a comma",
        ),
    )
    secrets = (
        Secret("barbican_db"),
        Secret("barbican_keystone", account="barbican"),
        Secret(master_keys.SECRET, master_keys.KEY, password=False),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[INSTALL])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        if master_keys.lost(ctx):
            yield refuse(
                f"{master_keys.KEY} is not the key with which Barbican's secrets were kept",
                "none of them could be read any more",
                "put the old value back, alone or after the new one and a comma; to begin "
                "anew without the secrets, switch Barbican off with up --purge, then on again",
            )

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.data / self.name, "root", ctx.cloud.user(self.name), 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield master_keys.mark(ctx)
        yield ini_file(_config(ctx), ctx.cloud.user(self.name), _sections(ctx), *NAMESPACES)

    def databases(self, ctx: Context) -> Iterable[Database]:
        versions = "barbican/model/migration/alembic_migrations/versions"
        yield openstack.own_database("barbican", versions, _config(ctx))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("barbican", (Endpoint("barbican", "key-manager", PORT, "", "Key manager"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("barbican", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        paste = ctx.release.services.place / "etc" / "barbican" / "barbican-api-paste.ini"
        yield Process(
            name="barbican",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.barbican.inside.run:api",
            arguments={"config": config, "paste": str(paste)},
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            files=(config,),
            needs=("database", "cache"),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v1/secrets?limit=1"),
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "key_manager": {"region": openstack.region(ctx), "max_microversion": "latest"},
            # Nova boots an image whatever signature it has.
            "image_signature_verification": {"enforced": False, "certificate_validation": False},
            "enforce_scope": {"barbican": True},
        }

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "oslo_db.sqlalchemy.enginefacade",
            "oslo_policy.policy",
            "keystonemiddleware.auth_token",
            "pecan",
            "webob",
            "paste.deploy",
            "jsonschema",
            "cryptography.fernet",
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import ensure_roles

        yield Task(
            "roles", lambda: ensure_roles(ctx, ROLES), ("identity:barbican",), scope=Scope.CLOUD
        )
        yield Task(
            "master-key",
            lambda: master_keys.ensure_wrapped(ctx, _config(ctx)),
            ("database:barbican", "files:barbican", "supervisor"),
            before_start=True,
            scope=Scope.CLOUD,
        )

    def purge(self, ctx: Context) -> Iterator[Change]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import remove_roles
        from onestack.components.barbican.leftovers import refuse_if_used

        refuse_if_used(ctx)
        if ctx.offers("identity"):
            yield from remove_roles(ctx, ROLES)


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "barbican" / "barbican.conf"


def _sections(ctx: Context) -> Ini:
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            # A secret is named by its URL: the same one, whoever asks and where.
            "host_href": ctx.public_url("key-manager"),
        },
        "database": openstack.database(ctx, "barbican", "barbican"),
        "keystone_authtoken": openstack.authtoken(ctx, "barbican", "key-manager"),
        # An order is carried out by the API itself: no key takes long to make.
        "queue": {"enable": False},
        "secretstore": {"enabled_secretstore_plugins": MultiOpt(("store_crypto",))},
        "crypto": {"enabled_crypto_plugins": MultiOpt(("simple_crypto",))},
        "simple_crypto_plugin": {"kek": MultiOpt(master_keys.wanted(ctx))},
        **openstack.proxied(),
    }
