"""Heat, the orchestration service: its API, the CloudFormation API, and the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import lasting, openstack
from onestack.components.heat import passing
from onestack.database.places import table_file
from onestack.database.upstream_tables import heat as tables
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Endpoint,
    Frontend,
    Identity,
    KnownError,
    Panel,
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding, refuse
from onestack.model.ini import Ini, Value, ini_value, read_option
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process
from onestack.model.secret import Secret

PORT = 8004
_KEY_OPTION = "auth_encryption_key"
CFN_PORT = 8000
ROLES = ("heat_stack_owner", "heat_stack_user")
"""Whom heat's policies tell apart: people with stacks, and the users that stacks make.

Nobody needs the first today; instructions of all years grant it."""

NAMESPACES = (
    *openstack.NAMESPACES,
    "heat.api.aws.ec2token",
    "heat.common.config",
    "heat.common.context",
    "heat.common.crypt",
    "heat.engine.clients",
    "heat.engine.resources",
)


def _wrong_key(text: str) -> str | None:
    if text == "PW_PLACEHOLDER" or len(text) in (16, 24, 32):
        return None
    return f"it has {len(text)} characters, and must have 16, 24 or 32"


DOMAIN_PASSWORD = "CONFIG_HEAT_DOMAIN_PASSWORD"
_DATABASE = openstack.database_password("heat")
_ACCOUNT = openstack.service_password("heat")


class Heat(Component):
    name = "heat"
    title = "Orchestration"
    clients = ("heat",)
    tempest_service = "heat"
    tempest_plugin = "heat_tempest_plugin"
    provides = (Capability("orchestration", ("heat",), port=PORT, path="/v1"),)
    keys = (
        Key("CONFIG_HEAT_INSTALL", "n", "Turn the orchestration service on.", Kind.FLAG),
        Key(
            "CONFIG_HEAT_CFN_INSTALL",
            "y",
            "Turn its CloudFormation-compatible API on (port 8000), through which guests "
            "signal wait conditions.",
            Kind.FLAG,
        ),
        _DATABASE.key,
        _ACCOUNT.key,
        Key(
            "CONFIG_HEAT_AUTH_ENC_KEY",
            "PW_PLACEHOLDER",
            "Key that encrypts credentials kept in heat's database: 16, 24 or 32 characters. "
            "CONFIG_DEFAULT_PASSWORD does not apply to it. It cannot change: stacks could not be "
            "read any more.",
            Kind.SECRET,
            check=_wrong_key,
        ),
        Key("CONFIG_HEAT_DOMAIN", "heat", "Identity domain of the users that stacks make."),
        Key("CONFIG_HEAT_DOMAIN_ADMIN", "heat_admin", "Administrator of that domain."),
        Key(
            DOMAIN_PASSWORD,
            "PW_PLACEHOLDER",
            "Password of that domain's administrator.",
            Kind.SECRET,
        ),
    )
    known_errors = (
        openstack.denied("heat"),
        KnownError(
            "auth_encryption_key must be|Can not decrypt data",
            "CONFIG_HEAT_AUTH_ENC_KEY is not the key with which heat's database was written",
            "put the earlier one back",
        ),
        KnownError(
            "Failed to obtain a Keystone token|AWS authentication failure",
            "a guest's signal was refused",
            "its URL is good for 15 minutes from when heat made it and until its stack is "
            "deleted, and the guest's clock must be right",
        ),
    )
    secrets = (
        _DATABASE.secret,
        _ACCOUNT.secret,
        # Not a password: CONFIG_DEFAULT_PASSWORD, of any length, is none of it.
        Secret("heat_encryption", "CONFIG_HEAT_AUTH_ENC_KEY", password=False),
        # It has its key's name, by which clouds keep it.
        Secret(DOMAIN_PASSWORD, DOMAIN_PASSWORD),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_HEAT_INSTALL"])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        before = read_option(_config(ctx), _KEY_OPTION)
        stacks = table_file(ctx.cloud, tables.STACKS).exists()
        if stacks and before not in (None, ini_value(_encryption_key(ctx))):
            yield refuse(
                "CONFIG_HEAT_AUTH_ENC_KEY is not the key that heat's database was made with",
                "what heat needs to change or delete the stacks that are there is encrypted "
                f"with the one in {_config(ctx)}",
                "put the old value back; to begin anew without the stacks, switch heat off with "
                "up --purge, then on again",
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.database.server import server_of

        # A stack gives up by itself after its own time, an hour where it says none.
        things = [thing for thing in tables.in_passing(server_of(ctx)) if thing.since > 2 * 3600]
        manage = f"{ctx.release.services.command('heat-manage')} --config-file {_config(ctx)}"
        yield from lasting.findings(things, frozenset(), lambda stack: passing.cure(stack, manage))

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ini_file(_config(ctx), ctx.cloud.user(self.name), _sections(ctx), *NAMESPACES)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database("heat", "heat/db/migrations/versions", _config(ctx))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        endpoints = [
            Endpoint("heat", "orchestration", PORT, "/v1/%(project_id)s", "Orchestration"),
        ]
        if _cfn(ctx):
            endpoints.append(
                Endpoint("heat-cfn", "cloudformation", CFN_PORT, "/v1", "CloudFormation")
            )
        yield Identity("heat", tuple(endpoints))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("heat", PORT, f"{ctx.internal}:{PORT}")
        if _cfn(ctx):
            yield Frontend("heat-cfn", CFN_PORT, f"{ctx.internal}:{CFN_PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        sockets = {"api": f"tcp:{ctx.internal}:{PORT}"}
        if _cfn(ctx):
            sockets["cfn"] = f"tcp:{ctx.internal}:{CFN_PORT}"
        yield Process(
            name="heat",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.heat.inside.run:heat",
            arguments={"config": config},
            sockets=sockets,
            files=(config,),
            needs=("database", "cache", "messaging"),
            # Listing stacks asks the engine, through the bus.
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v1/{{project_id}}/stacks?limit=1"),
        )

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "oslo_db.sqlalchemy.enginefacade",
            "onestack.runtime.messaging",
            "oslo_policy.policy",
            "oslo_versionedobjects.base",
            "keystonemiddleware.auth_token",
            "keystoneauth1.loading",
            "openstack.connection",
            "routes",
            "webob",
            "paste.deploy",
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import ensure_roles
        from onestack.components.heat.domain import ensure_domain

        yield Task("roles", lambda: ensure_roles(ctx, ROLES), ("identity:heat",), scope=Scope.CLOUD)
        yield Task(
            "domain",
            lambda: ensure_domain(ctx),
            ("identity:heat",),
            before_start=True,
            scope=Scope.CLOUD,
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        """Heat's plugin makes no users of its own."""
        admin = str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"])
        password = ctx.secrets["admin_keystone"]
        return {
            "heat_plugin": {
                "auth_url": ctx.public_url("identity"),
                "auth_version": 3,
                "region": openstack.region(ctx),
                "ca_file": str(ctx.authority),
                "username": admin,
                "password": password,
                "project_name": "admin",
                "admin_username": admin,
                "admin_password": password,
                "admin_project_name": "admin",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
                "instance_type": found.flavor_alt_name,
                "minimal_instance_type": found.flavor_name,
                "image_ref": found.image,
                "minimal_image_ref": found.image,
                "floating_network_name": found.public_network_name,
                # They want an image with heat's own agents in it.
                "skip_scenario_tests": True,
            }
        }

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("heat_dashboard", {"orchestration": "heat"})

    def purge(self, ctx: Context) -> Iterator[Change]:
        if ctx.offers("identity"):
            from onestack.cloudapi.keystone import remove_roles
            from onestack.components.heat.domain import remove_domain

            yield from remove_domain(ctx)
            yield from remove_roles(ctx, ROLES)


def _cfn(ctx: Context) -> bool:
    return bool(ctx.answers["CONFIG_HEAT_CFN_INSTALL"])


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "heat" / "heat.conf"


def _sections(ctx: Context) -> Ini:
    shared = ctx.release.services.place / "etc" / "heat"
    heat = openstack.credentials(ctx, "heat")
    trustee = ("auth_type", "auth_url", "username", "password", "user_domain_name")
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "host": ctx.host.name,
            "transport_url": openstack.transport_url(ctx),
            "region_name_for_services": openstack.region(ctx),
            "environment_dir": str(shared / "environment.d"),
            "template_dir": str(shared / "templates"),
            "plugin_dirs": [],
            _KEY_OPTION: _encryption_key(ctx),
            "stack_user_domain_name": str(ctx.answers["CONFIG_HEAT_DOMAIN"]),
            "stack_domain_admin": str(ctx.answers["CONFIG_HEAT_DOMAIN_ADMIN"]),
            "stack_domain_admin_password": ctx.secrets[DOMAIN_PASSWORD],
            # What guests are told, they reach: the TLS front on the public address.
            "server_keystone_endpoint_type": "public",
            **(_signals(ctx) if _cfn(ctx) else {}),
        },
        "database": openstack.database(ctx, "heat", "heat"),
        "keystone_authtoken": openstack.authtoken(ctx, "heat", "orchestration"),
        "trustee": {k: v for k, v in heat.items() if k in trustee},
        "ec2authtoken": {**heat, "endpoint_override": _keystone(ctx)},
        "clients": {"endpoint_type": "internal"},
        # Its URL is given to guests too.
        "clients_heat": {
            "endpoint_type": "public",
            "ca_file": str(ctx.authority),
        },
        # The authority is for all that heat's session asks, heat's own front for a stack in a
        # stack among it.
        "clients_keystone": {"auth_uri": _keystone(ctx), "ca_file": str(ctx.authority)},
        "volumes": {
            "backups_enabled": ctx.offers("object-store")
            or bool(ctx.answers["CONFIG_ONESTACK_CINDER_BACKUP"])
        },
        "paste_deploy": {"api_paste_config": str(shared / "api-paste.ini")},
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }


def _signals(ctx: Context) -> dict[str, Value]:
    """Where guests get their metadata from and send their signals to."""
    cfn = f"https://{ctx.public}:{CFN_PORT}"
    return {
        "heat_metadata_server_url": cfn,
        "heat_waitcondition_server_url": f"{cfn}/v1/waitcondition",
        "instance_connection_is_secure": "1",
    }


def _keystone(ctx: Context) -> str:
    return openstack.keystone_url(ctx).removesuffix("/v3")


def _encryption_key(ctx: Context) -> str:
    return ctx.secrets["heat_encryption"]
