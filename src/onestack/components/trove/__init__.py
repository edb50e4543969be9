"""Trove, the database service: MariaDB and PostgreSQL, each in a guest that it looks after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.answers.values import Answers
from onestack.components import lasting, openstack
from onestack.components.trove import config, datastores, passing, tempest
from onestack.components.trove.guest import RECIPE
from onestack.components.trove.keys import INSTALL, KEYS, SECRETS, SUBNET
from onestack.components.trove.known_errors import KNOWN_ERRORS
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    BusAccount,
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Holding,
    Identity,
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding
from onestack.model.ini import Ini
from onestack.model.process import ApiProbe, Process
from onestack.network.subnets import overlapping

NEEDED = {
    "CONFIG_NOVA_INSTALL": "compute",
    "CONFIG_NEUTRON_INSTALL": "network",
    "CONFIG_GLANCE_INSTALL": "image",
    "CONFIG_CINDER_INSTALL": "volume",
}
"""Key of each service without which there is no guest, and what it is called."""


class Trove(Component):
    name = "trove"
    title = "Databases"
    clients = ("trove",)
    tempest_service = "trove"
    tempest_plugin = "trove_tempest_plugin"
    # The catalog's type is "database", which is the name of the cloud's own server here.
    provides = (
        Capability(
            "databases", ("trove",), port=config.PORT, path="/v1.0", tasks=("trove:datastores",)
        ),
    )
    holdings = (Holding("/{own}/mgmt/instances", {"project_id": "{project}", "deleted": "false"}),)
    guest_images = (RECIPE,)
    flavors = datastores.FLAVORS
    keys = KEYS
    secrets = SECRETS
    known_errors = KNOWN_ERRORS

    def enabled(self, answers: Answers) -> bool:
        return bool(answers[INSTALL])

    def validate(self, answers: Answers) -> Iterable[str]:
        if not self.enabled(answers):
            return
        for key, title in NEEDED.items():
            if not answers[key]:
                yield f"{INSTALL} is y, but there is no {title} service ({key})"
        user = str(answers["CONFIG_AMQP_AUTH_USER"])
        if user in {account.user for account in config.accounts()}:
            yield f"CONFIG_AMQP_AUTH_USER={user} is the name of an account of databases' own"
        yield from overlapping(answers, SUBNET)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        yield from config.management(ctx).preflight_checks(SUBNET)

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        from onestack.components.trove import hops
        from onestack.database.server import server_of
        from onestack.database.upstream_tables import trove as tables

        yield from config.management(ctx).health_checks()
        yield from hops.examine(ctx)
        things = tables.in_passing(server_of(ctx))
        # All of it carries a database about.
        long = frozenset(thing.state for thing in things)
        yield from lasting.findings(things, long, passing.cure)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        group = ctx.cloud.user(self.name)
        yield Directory(config.directory(ctx) / "cloudinit", "root", group, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user(self.name)
        yield ini_file(config.main_file(ctx), group, config.sections(ctx), *config.NAMESPACES)
        agent = config.agent_sections(ctx)
        yield ini_file(config.agent_file(ctx), group, agent, *config.NAMESPACES)
        yield ConfigFile(config.policy_file(ctx), config.policy(), group)
        yield from config.management(ctx).files()

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database(
            "trove", "trove/db/sqlalchemy/migrations/versions", config.main_file(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        path = "/v1.0/%(project_id)s"
        yield Identity("trove", (Endpoint("trove", "database", config.PORT, path, "Databases"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("trove", config.PORT, f"{ctx.internal}:{config.PORT}")
        here = config.management(ctx).address
        bus = str(ctx.at("messaging"))
        yield Frontend("trove-bus", config.BUS_PORT, bus, address=here, tcp=True)
        if ctx.offers("object-store"):
            objects = ctx.at("object-store")
            yield Frontend("trove-objects", objects.port, str(objects), address=here)

    def bus(self, ctx: Context) -> Iterable[BusAccount]:
        return config.accounts()

    def processes(self, ctx: Context) -> Iterable[Process]:
        files = tuple(str(path) for path in config.files(ctx))
        told = (config.agent_file(ctx), config.policy_file(ctx))
        yield Process(
            name="trove",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.trove.inside.run:all_of_it",
            arguments={"config": list(files)},
            services=("trove-api", "trove-conductor", "trove-taskmanager"),
            sockets={"api": f"tcp:{ctx.internal}:{config.PORT}"},
            # The object store is asked as guests ask it.
            env={"REQUESTS_CA_BUNDLE": str(ctx.authority)},
            files=(*files, *(str(path) for path in told)),
            needs=(
                *("database", "cache", "messaging", "identity"),
                *("network", "compute", "block-storage"),
            ),
            probe=ApiProbe(
                f"http://{ctx.internal}:{config.PORT}/v1.0/{{project_id}}/instances?limit=1"
            ),
        )
        yield config.management(ctx).process()

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "oslo_db.sqlalchemy.enginefacade",
            "onestack.runtime.messaging",
            "oslo_policy.policy",
            "keystonemiddleware.auth_token",
            "routes",
            "webob",
            "paste.deploy",
        )

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("guest", lambda: RECIPE.ensure_fetched(CACHE / "images"), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.quotas import ensure_unlimited
        from onestack.components.trove import network

        yield config.management(ctx).task()
        yield Task(
            "ids",
            lambda: network.ensure_ids(ctx),
            ("trove:management",),
            before_start=True,
            scope=Scope.CLOUD,
        )
        yield Task(
            "trust",
            lambda: network.ensure_trust(ctx),
            ("capability:authority", "files:trove"),
            before_start=True,
            scope=Scope.CLOUD,
        )
        yield Task(
            "quotas",
            lambda: ensure_unlimited(ctx),
            ("capability:compute", "capability:network", "capability:block-storage"),
            scope=Scope.CLOUD,
        )
        yield Task(
            "flavors",
            lambda: datastores.ensure_flavors(ctx),
            ("capability:compute",),
            scope=Scope.CLOUD,
        )
        yield Task(
            "image",
            lambda: datastores.ensure_image(ctx),
            ("capability:image", "capability:identity"),
            scope=Scope.CLOUD,
        )
        yield Task(
            "datastores",
            lambda: datastores.ensure_datastores(ctx),
            ("trove:image", "trove:ids", "database:trove", "capability:compute"),
            scope=Scope.CLOUD,
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return tempest.sections(found)

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.components.trove import leftovers

        yield from leftovers.remove(ctx)
