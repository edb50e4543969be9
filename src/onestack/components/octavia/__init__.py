"""Octavia, the load balancer service; what makes the balancers are its `providers`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.octavia import keys, layout, tempest
from onestack.components.octavia.amphora import AMPHORA
from onestack.components.octavia.amphorae import AmphoraProvider
from onestack.components.octavia.providers import (
    LISTENERS,
    OvnProvider,
    Provider,
    chosen,
    config_file,
)
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
    Holding,
    Identity,
    KnownError,
    Panel,
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding, refuse
from onestack.model.ini import Ini
from onestack.model.process import ApiProbe, Process
from onestack.model.secret import Secret
from onestack.network.bridges import Bridges
from onestack.network.subnets import overlapping

PORT = 9876
PROVIDERS: tuple[Provider, ...] = (OvnProvider(), AmphoraProvider())

NEEDS = ("database", "cache", "identity")
KEEPER = "key-manager"
"""Who keeps certificates, for listeners that end TLS."""
CURE = "certificates want the key manager: CONFIG_ONESTACK_BARBICAN_INSTALL=y"
"""What the refusal of such a listener ends with where there is nobody."""
T = TypeVar("T")

ROLES = (
    "load-balancer_observer",
    "load-balancer_global_observer",
    "load-balancer_member",
    "load-balancer_quota_admin",
    "load-balancer_admin",
)
"""Octavia's own, which count beside a project's."""

NAMESPACES = (
    "octavia",
    "octavia.api.drivers.ovn",
    "keystonemiddleware.auth_token",
    "oslo.db",
    "oslo.log",
    "oslo.messaging",
    "oslo.middleware",
    "oslo.policy",
)


class Octavia(Component):
    name = "octavia"
    title = "Load balancers"
    tempest_service = "load_balancer"
    tempest_plugin = "octavia_tempest_plugin"
    features = PROVIDERS
    known_errors = (
        KnownError(
            "Error creating Neutron client",
            "neutron, or keystone for it, does not answer",
            "see `onestack status neutron`",
        ),
        KnownError(
            "was interrupted",
            "the service ended in the middle of that change",
            "repeat it, and if the object is in ERROR, delete it first",
        ),
        KnownError(
            "Secrets container not found",
            "a certificate is kept as a secret, and Octavia looked for a container first: no harm",
        ),
        openstack.denied("octavia"),
    )
    provides = (Capability("load-balancer", ("octavia-api",), port=PORT),)
    guest_images = (AMPHORA,)
    flavors = (layout.FLAVOR,)
    holdings = (Holding("/v2/lbaas/loadbalancers", {"project_id": "{project}"}),)
    keys = keys.KEYS
    secrets = (
        Secret("octavia_db"),
        Secret("octavia_keystone", account="octavia"),
        Secret("octavia_heartbeat", password=False),
        # Its form is prescribed: 32 characters.
        Secret("octavia_passphrase", password=False),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[keys.INSTALL])

    def validate(self, answers: Answers) -> Iterable[str]:
        if not self.enabled(answers):
            return
        if not answers["CONFIG_NEUTRON_INSTALL"]:
            yield f"{keys.INSTALL} is y, but there is no network service (CONFIG_NEUTRON_INSTALL)"
        if agent := str(answers["CONFIG_NEUTRON_L2_AGENT"]):
            yield from _wrong(answers, agent)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        bridges = ctx.once(Bridges)
        if not ctx.answers["CONFIG_NEUTRON_L2_AGENT"]:
            for wrong in _wrong(ctx.answers, bridges.agent):
                yield refuse(
                    f"the answers do not fit {bridges.agent}, which carries the networks "
                    f"({bridges.reason})",
                    wrong,
                    "change them, or choose with CONFIG_NEUTRON_L2_AGENT",
                )
        if keys.AMPHORA in chosen(ctx):
            yield from layout.management(ctx).preflight_checks(keys.SUBNET)

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components import lasting
        from onestack.components.octavia import hops
        from onestack.database.server import server_of
        from onestack.database.upstream_tables import octavia as octavia_tables

        if keys.AMPHORA in chosen(ctx):
            yield from layout.management(ctx).health_checks()
            yield from hops.examine(ctx)
        # Of what is PENDING its API takes nothing, neither failover nor delete.
        cure = (
            "onestack restart octavia: what was interrupted is mended by that, or in ERROR, and "
            "can be deleted then"
        )
        things = octavia_tables.in_passing(server_of(ctx))
        # An amphora may have to be booted without KVM.
        long = frozenset(thing.state for thing in things)
        yield from lasting.findings(things, long, lambda balancer: cure)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(_run(ctx), user, user, 0o750)
        yield Directory(_run(ctx) / "octavia", user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ini_file(config_file(ctx), ctx.cloud.user(self.name), _sections(ctx), *NAMESPACES)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database(
            "octavia", "octavia/db/migration/alembic_migrations/versions", config_file(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity(
            "octavia", (Endpoint("octavia", "load-balancer", PORT, "", "Load balancers"),)
        )

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("octavia", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        run, on = _run(ctx), providers(ctx)
        config = [str(path) for path in (config_file(ctx), *_each(on, lambda p: p.config(ctx)))]
        yield Process(
            name="octavia-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            groups=_each(on, lambda p: p.groups(ctx)),
            run="onestack.components.octavia.inside.run:api",
            arguments={
                "config": config,
                "listeners": LISTENERS,
                "providers": [provider.name for provider in on],
                "cure": "" if ctx.offers(KEEPER) else CURE,
                **{name: value for p in on for name, value in p.arguments(ctx).items()},
            },
            services=_each(on, lambda p: p.services),
            sockets={
                "api": f"tcp:{ctx.internal}:{PORT}",
                **{name: f"unix:{run / 'octavia' / name}.sock" for name in LISTENERS},
            },
            # Drivers look for the agent's sockets in /run/octavia, whatever is configured.
            mounts={"/run": str(run)},
            files=(*config, *(str(path) for path in _each(on, lambda p: p.watched(ctx)))),
            needs=tuple(dict.fromkeys((*_needs(ctx), *_each(on, lambda p: p.needs)))),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v2/lbaas/loadbalancers?limit=1"),
        )

    def preload(self, ctx: Context) -> Iterable[str]:
        # Imported by itself as late as in a child, it would bring eventlet along.
        return ("oslo_cache._memcache_pool",)

    def downloads(self, ctx: Context) -> Iterable[Task]:
        if ctx.offers(tempest.CAPABILITY):
            needs = ("packages", f"environment:{tempest.ENVIRONMENT}")
            yield Task("test-server", lambda: tempest.ensure_server(ctx), needs)

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import ensure_roles

        yield Task(
            "roles", lambda: ensure_roles(ctx, ROLES), ("identity:octavia",), scope=Scope.CLOUD
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        on = providers(ctx)
        return {
            "load_balancer": {
                "provider": on[0].name,
                "enabled_provider_drivers": [f"{p.name}:{p.description}" for p in on],
                "test_server_path": str(tempest.server(ctx)),
                # Most changes are done within a second, and each test waits for several.
                **dict.fromkeys(("build_interval", "check_interval", "lb_build_interval"), 1),
                "check_timeout": layout.change_seconds(ctx),
            }
        }

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("octavia_dashboard")

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.cloudapi.keystone import remove_roles

        # A provider may have gone from the answers together with the service.
        for provider in PROVIDERS:
            if not provider.on(ctx) and any(mark.exists() for mark in provider.markers(ctx)):
                yield from provider.purge(ctx)
        if ctx.offers("identity"):
            yield from remove_roles(ctx, ROLES)


def providers(ctx: Context) -> list[Provider]:
    """Those that are on, the default one first."""
    known = {provider.name: provider for provider in PROVIDERS}
    return [known[name] for name in chosen(ctx)]


def _each(on: Sequence[Provider], ask: Callable[[Provider], Iterable[T]]) -> tuple[T, ...]:
    return tuple(chain.from_iterable(ask(provider) for provider in on))


def _wrong(answers: Answers, agent: str) -> Iterator[str]:
    """What of the answers cannot be where ``agent`` carries the networks."""
    yield from keys.problems(answers, agent)
    if keys.AMPHORA in keys.chosen(answers, agent):
        yield from overlapping(answers, keys.SUBNET)


def _run(ctx: Context) -> Path:
    """What the process sees as ``/run``."""
    return ctx.cloud.run / "octavia"


def _needs(ctx: Context) -> tuple[str, ...]:
    return (*NEEDS, KEEPER) if ctx.offers(KEEPER) else NEEDS


def _certificates(ctx: Context) -> Ini:
    """The service reads a certificate as itself, once its owner's token has let it."""
    return {
        "certificates": {
            "cert_manager": "barbican_cert_manager",
            "barbican_auth": "barbican_acl_auth",
            "region_name": openstack.region(ctx),
            "endpoint_type": "internalURL",
            "ca_certificates_file": str(ctx.authority),
        }
    }


def _sections(ctx: Context) -> Ini:
    on = providers(ctx)
    return {
        "DEFAULT": {**openstack.logging(ctx), "host": ctx.host.name},
        "api_settings": {
            "enabled_provider_drivers": [f"{p.name}:{p.description}" for p in on],
            "default_provider_driver": on[0].name,
            "allow_tls_terminated_listeners": ctx.offers(KEEPER),
        },
        **(_certificates(ctx) if ctx.offers(KEEPER) else {}),
        "database": openstack.database(ctx, "octavia", "octavia"),
        "keystone_authtoken": openstack.authtoken(ctx, "octavia", "load-balancer"),
        "service_auth": openstack.account(ctx, "octavia"),
        "neutron": openstack.credentials(ctx, "octavia"),
        # What was deleted is forgotten after a week: no need to look every 30 s.
        "house_keeping": {"cleanup_interval": 3600},
        # Members of a project may use load balancers, and so may who has one of `ROLES`.
        "oslo_policy": {"enforce_new_defaults": False},
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }
