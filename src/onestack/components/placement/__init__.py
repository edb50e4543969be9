"""Placement, which counts what hypervisors have and what is used of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import openstack
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
    TempestResources,
    ini_file,
)
from onestack.model.ini import Ini
from onestack.model.process import ApiProbe, Process
from onestack.model.secret import Secret

PORT = 8778


class Placement(Component):
    name = "placement"
    title = "Placement"
    provides = (Capability("placement", ("placement-api",), port=PORT),)
    secrets = (
        Secret("placement_db"),
        Secret("placement_keystone", account="placement"),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ini_file(
            self._config(ctx),
            ctx.cloud.user(self.name),
            {
                "DEFAULT": openstack.logging(ctx),
                "placement_database": openstack.database(ctx, "placement", "placement"),
                "keystone_authtoken": openstack.authtoken(ctx, "placement", "placement"),
                **openstack.proxied(),
            },
            "placement.conf",
            "keystonemiddleware.auth_token",
            "oslo.log",
            "oslo.middleware",
        )

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database(
            "placement", "placement/db/sqlalchemy/alembic/versions", self._config(ctx)
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("placement", (Endpoint("placement", "placement", PORT, "", "Placement"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("placement", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = self._config(ctx)
        yield Process(
            name="placement-api",
            component=self.name,
            user=ctx.cloud.user(self.name),
            run="onestack.components.placement.inside.run:api",
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            env={"OS_PLACEMENT_CONFIG_DIR": str(config.parent)},
            files=(str(config),),
            needs=("database", "cache"),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/resource_providers"),
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "placement": {"region": openstack.region(ctx), "max_microversion": "latest"},
            "enforce_scope": {"placement": True},
        }

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "placement" / "placement.conf"
