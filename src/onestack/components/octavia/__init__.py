"""Octavia, the load balancer service; what makes the balancers are its `providers`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.octavia.amphora import AMPHORA
from onestack.components.octavia.providers import (
    LISTENERS,
    PROVIDERS,
    config_file,
    providers,
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
    ini_file,
)
from onestack.model.ini import Ini
from onestack.model.key import Key, Kind
from onestack.model.process import ApiProbe, Process
from onestack.model.secret import Secret
from onestack.network.backend import BALANCERS

PORT = 9876

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
        openstack.denied("octavia"),
    )
    provides = (Capability("load-balancer", ("octavia-api",), port=PORT),)
    guest_images = (AMPHORA,)
    holdings = (Holding("/v2/lbaas/loadbalancers", {"project_id": "{project}"}),)
    keys = (
        Key(
            BALANCERS,
            "n",
            "Turn the load balancer service (Octavia) on. It needs ovn as "
            "CONFIG_NEUTRON_L2_AGENT, which is also what an empty one means then.",
            Kind.FLAG,
            aliases=("CONFIG_NEUTRON_LBAAS", "CONFIG_OCTAVIA_INSTALL"),
        ),
    )
    secrets = (Secret("octavia_db"), Secret("octavia_keystone", account="octavia"))

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[BALANCERS])

    def validate(self, answers: Answers) -> Iterable[str]:
        if not self.enabled(answers):
            return
        if not answers["CONFIG_NEUTRON_INSTALL"]:
            yield f"{BALANCERS} is y, but there is no network service (CONFIG_NEUTRON_INSTALL)"
        if answers["CONFIG_NEUTRON_L2_AGENT"] == "openvswitch":
            yield (
                f"{BALANCERS} is y, but CONFIG_NEUTRON_L2_AGENT is openvswitch: load balancers are "
                "OVN's own here (Octavia's other kind, a virtual machine for each balancer, is not "
                "part of onestack); set it to ovn, or leave it empty"
            )

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
        config = str(config_file(ctx))
        run, chosen = _run(ctx), providers(ctx)
        yield Process(
            name="octavia-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            groups=tuple(group for provider in chosen for group in provider.groups(ctx)),
            run="onestack.components.octavia.inside.run:api",
            arguments={"config": config, "listeners": LISTENERS},
            sockets={
                "api": f"tcp:{ctx.internal}:{PORT}",
                **{name: f"unix:{run / 'octavia' / name}.sock" for name in LISTENERS},
            },
            # Drivers look for the agent's sockets in /run/octavia, whatever is configured.
            mounts={"/run": str(run)},
            files=(config,),
            needs=(
                *("database", "cache", "identity"),
                *(need for provider in chosen for need in provider.needs),
            ),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v2/lbaas/loadbalancers?limit=1"),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import ensure_roles

        yield Task(
            "roles", lambda: ensure_roles(ctx, ROLES), ("identity:octavia",), scope=Scope.CLOUD
        )

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("octavia_dashboard")

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.cloudapi.keystone import remove_roles

        if ctx.offers("identity"):
            yield from remove_roles(ctx, ROLES)


def _run(ctx: Context) -> Path:
    """What the process sees as ``/run``."""
    return ctx.cloud.run / "octavia"


def _sections(ctx: Context) -> Ini:
    chosen = providers(ctx)
    credentials = openstack.credentials(ctx, "octavia")
    adapter = ("region_name", "valid_interfaces")
    return {
        # No transport_url: only drivers that run virtual machines use the bus.
        "DEFAULT": {**openstack.logging(ctx), "host": ctx.host.name},
        "api_settings": {
            "enabled_provider_drivers": [f"{p.name}:{p.description}" for p in chosen],
            **({"default_provider_driver": chosen[0].name} if chosen else {}),
        },
        "database": openstack.database(ctx, "octavia", "octavia"),
        "keystone_authtoken": openstack.authtoken(ctx, "octavia", "load-balancer"),
        "service_auth": {k: v for k, v in credentials.items() if k not in adapter},
        "neutron": credentials,
        # What was deleted is forgotten after a week: no need to look every 30 s.
        "house_keeping": {"cleanup_interval": 3600},
        # Members of a project may use load balancers, and so may who has one of `ROLES`.
        "oslo_policy": {"enforce_new_defaults": False},
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }
