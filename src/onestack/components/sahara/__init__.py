"""Sahara, the data processing service: clusters of Spark and HDFS, each made of guests.

Upstream retired it; it runs in an environment of its own, as the last release of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onestack.answers.values import Answers
from onestack.components import openstack
from onestack.components.sahara import config
from onestack.components.sahara.guest import RECIPE
from onestack.components.sahara.keys import IMAGE, INSTALL, INSTALLS, KEYS, SECRETS
from onestack.components.sahara.known_errors import KNOWN_ERRORS
from onestack.model.change import Change
from onestack.model.cloud import CACHE
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
    Panel,
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding, warn
from onestack.model.ini import Ini
from onestack.model.process import ApiProbe, Process
from onestack.network import demo
from onestack.network.bridges import Bridges

NEEDED = {
    "CONFIG_NOVA_INSTALL": "compute",
    "CONFIG_NEUTRON_INSTALL": "network",
    "CONFIG_GLANCE_INSTALL": "image",
}
"""Key of each service without which there is no cluster, and what it is called."""


class Sahara(Component):
    name = "sahara"
    title = "Data processing"
    tempest_service = "sahara"
    tempest_plugin = "sahara_tempest_plugin"
    foreign_commands: Mapping[str, str] = {"dataprocessing": config.ENVIRONMENT}
    provides = (Capability(config.TYPE, ("sahara",), port=config.PORT, path="/v1.1"),)
    # What a cluster has is known to its stack alone.
    purged_before = ("orchestration",)
    guest_images = (RECIPE,)
    flavors = (config.NODE,)
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

    def remarks(self, answers: Answers) -> Iterable[str]:
        if answers[IMAGE] and not self.enabled(answers):
            yield f"{IMAGE}=y counts for nothing: {INSTALL} is not y"
        for name in INSTALLS if self.enabled(answers) else ():
            if answers.given.get(name, "y").lower() not in ("y", "yes", "true"):
                yield f"{name}={answers.given[name]} counts for nothing: {INSTALL} needs it"

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        # Its NIC may be there, or somebody may have given the bridge an address by hand.
        has = ctx.once(Bridges).outside_addresses
        if not demo.machine_addresses(ctx.answers) and not has:
            yield warn(
                "data processing may not reach the machines of a cluster",
                "this machine has no address on the external network, and floating IPs answer "
                "only if another way leads there",
                "give it one: CONFIG_ONESTACK_EXTERNAL_ADDRESS; or, where a NIC of it is on that "
                "network, onestack nic attach NIC",
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        from onestack.components.sahara import hops

        yield from hops.examine(ctx)

    def packages(self, ctx: Context) -> Iterable[str]:
        # It makes each cluster's key with ssh-keygen.
        return ("openssh-client",)

    def environments(self, ctx: Context) -> Iterable[str]:
        return (config.ENVIRONMENT,)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(config.scratch(ctx).parent, user, user)
        yield Directory(config.scratch(ctx), user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user(self.name)
        yield ini_file(config.main_file(ctx), group, config.sections(ctx), *config.NAMESPACES)
        yield ConfigFile(config.policy_file(ctx), config.policy(), group)

    def databases(self, ctx: Context) -> Iterable[Database]:
        versions = "sahara/db/migration/alembic_migrations/versions"
        yield openstack.own_database("sahara", versions, config.main_file(ctx), config.ENVIRONMENT)

    def identity(self, ctx: Context) -> Iterable[Identity]:
        path = "/v1.1/%(project_id)s"
        endpoint = Endpoint("sahara", config.TYPE, config.PORT, path, "Data processing")
        yield Identity("sahara", (endpoint,))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("sahara", config.PORT, f"{ctx.internal}:{config.PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        file = str(config.main_file(ctx))
        yield Process(
            name="sahara",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.sahara.inside.run:all_in_one",
            arguments={"config": file},
            services=("sahara-api", "sahara-engine"),
            environment=config.ENVIRONMENT,
            sockets={"api": f"tcp:{ctx.internal}:{config.PORT}"},
            env={
                "TMPDIR": str(config.scratch(ctx)),
                # Of what some libraries of its day say about those of today.
                "PYTHONWARNINGS": "ignore",
            },
            files=(file, str(config.policy_file(ctx))),
            needs=(
                *("database", "cache", "messaging", "identity", "orchestration"),
                *("compute", "network", "image"),
            ),
            probe=ApiProbe(
                f"http://{ctx.internal}:{config.PORT}/v1.1/{{project_id}}/plugins", seconds=120
            ),
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "data-processing": {
                "test_image_name": str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"]),
                "test_ssh_user": str(ctx.answers["CONFIG_PROVISION_IMAGE_SSH_USER"]),
            },
            # Of several it takes the one that makes clusters without software, if that is on.
            "data-processing-feature-enabled": {"plugins": list(config.plugins(ctx))},
        }

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        yield Panel("sahara_dashboard", application=config.PAGES)

    def downloads(self, ctx: Context) -> Iterable[Task]:
        if ctx.answers[IMAGE]:
            yield Task("guest", lambda: RECIPE.ensure_fetched(CACHE / "images"), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.sahara import domain, offered

        yield Task(
            "domain",
            lambda: domain.ensure(ctx),
            ("identity:sahara",),
            before_start=True,
            scope=Scope.CLOUD,
        )
        if not ctx.answers[IMAGE]:
            return
        yield Task(
            "image",
            lambda: offered.ensure_image(ctx),
            ("capability:image", "capability:compute", "capability:identity"),
            scope=Scope.CLOUD,
        )
        yield Task(
            "flavor",
            lambda: offered.ensure_flavor(ctx),
            ("capability:compute",),
            scope=Scope.CLOUD,
        )
        yield Task(
            "templates",
            lambda: offered.ensure_templates(ctx),
            ("process:sahara", "sahara:flavor", "capability:network", "capability:contents"),
            scope=Scope.CLOUD,
        )

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.components.sahara import leftovers

        yield from leftovers.remove(ctx)
