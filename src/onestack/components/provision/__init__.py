"""First contents of a new cloud: flavors, an image, the demo's networks, what Tempest needs."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.clients import openrc
from onestack.components.provision import keys, state
from onestack.model.component import Component, PartOff
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Task
from onestack.model.findings import Finding
from onestack.network import demo


class Provision(Component):
    name = "provision"
    title = "First contents"
    secrets = keys.SECRETS
    keys = keys.KEYS

    def validate(self, answers: Answers) -> Iterable[str]:
        return keys.validate(answers)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        return state.lost(ctx)

    def users(self, ctx: Context) -> Iterable[str]:
        return ()

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield from state.files(ctx)
        for account in keys.accounts(ctx.answers):
            other = {
                "OS_USERNAME": account,
                "OS_PROJECT_NAME": keys.project(ctx.answers),
                "OS_PASSWORD": ctx.secrets[f"{keys.secret(account)}_keystone"],
            }
            yield ConfigFile(
                _openrc(ctx, account),
                openrc(ctx, other, f"The user {account}"),
                mode=0o600,
            )

    def downloads(self, ctx: Context) -> Iterable[Task]:
        from onestack.components.provision.contents import ensure_fetched

        if ctx.offers("image"):
            yield Task("fetch", lambda: ensure_fetched(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision import contents, networks

        flavors, image = (
            ("process:nova-api", "identity:nova"),
            ("process:glance-api", "identity:glance"),
        )
        if ctx.offers("compute"):
            yield Task("flavors", lambda: contents.ensure_flavors(ctx), flavors)
        if ctx.offers("image") and keys.wants_image(ctx.answers):
            yield Task("image", lambda: contents.ensure_image(ctx), image)
        if ctx.offers("image") and ctx.answers[f"{keys.UEC}KERNEL_URL"]:
            yield Task("parts", lambda: contents.ensure_parts(ctx), image)
        if keys.accounts(ctx.answers):
            yield Task("accounts", lambda: networks.ensure_accounts(ctx), ("keystone:project",))
        if ctx.offers("network") and demo.wanted(ctx.answers):
            needs = ("process:neutron-api", "identity:neutron")
            after = ("provision:accounts",) if keys.accounts(ctx.answers) else ()
            # nobody answers for a network's port before the agents do
            agents = tuple(f"process:{process.name}" for process in ctx.model["neutron"].processes)
            yield Task("networks", lambda: networks.ensure_networks(ctx), (*needs, *agents, *after))

    def parts_off(self, ctx: Context) -> Iterable[PartOff]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision import leftovers as gone

        answers = ctx.answers
        for project, title, key, user in (
            ("demo", "The demo", "CONFIG_PROVISION_DEMO", "demo"),
            ("tempest", "Tempest's account", keys.TEMPEST, str(answers[f"{keys.TEMPEST}_USER"])),
        ):
            if not answers[key]:
                file = _openrc(ctx, user)
                purge = functools.partial(gone.remove_project, ctx, project, user, file)
                yield PartOff(project, title, purge, (file,))
        for what, title, wanted, remove in (
            ("network", "The public network", demo.wanted(answers), gone.remove_network),
            ("image", "The image", keys.wants_image(answers), gone.remove_image),
        ):
            if not wanted:
                note = state.place(ctx, what)
                purge = functools.partial(remove, ctx, note)
                # Where people use the demo, all of it stays.
                yield PartOff(what, title, purge, (note,), after=("demo", "tempest"))


def _openrc(ctx: Context, account: str) -> Path:
    return ctx.cloud.etc / f"{account}-openrc"
