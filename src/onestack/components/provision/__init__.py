"""First contents of a new cloud: flavors, an image, the demo's networks, what Tempest needs."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.base import Component, ConfigFile, Context, Part, Task
from onestack.components.clients import openrc
from onestack.components.provision import keys, notes
from onestack.host.findings import Finding
from onestack.network import demo


class Provision(Component):
    name = "provision"
    title = "First contents"
    keys = keys.KEYS

    def contradictions(self, answers: Answers) -> Iterable[str]:
        return keys.contradictions(answers)

    def obstacles(self, ctx: Context) -> Iterable[Finding]:
        return notes.lost(ctx)

    def users(self, ctx: Context) -> Iterable[str]:
        return ()

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield from notes.files(ctx)
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

        if ctx.has("glance"):
            yield Task("fetch", lambda: ensure_fetched(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision import contents, networks

        flavors, image = (
            ("process:nova-api", "identity:nova"),
            ("process:glance-api", "identity:glance"),
        )
        if ctx.has("nova"):
            yield Task("flavors", lambda: contents.ensure_flavors(ctx), flavors)
        if ctx.has("glance") and keys.wants_image(ctx.answers):
            yield Task("image", lambda: contents.ensure_image(ctx), image)
        if ctx.has("glance") and ctx.answers[f"{keys.UEC}KERNEL_URL"]:
            yield Task("parts", lambda: contents.ensure_parts(ctx), image)
        if keys.accounts(ctx.answers):
            yield Task("accounts", lambda: networks.ensure_accounts(ctx), ("keystone:project",))
        if ctx.has("neutron") and demo.wanted(ctx.answers):
            needs = ("process:neutron-api", "identity:neutron")
            after = ("provision:accounts",) if keys.accounts(ctx.answers) else ()
            # nobody answers for a network's port before the agents do
            agents = tuple(
                f"process:{process.name}"
                for component in ctx.components
                if component.name == "neutron"
                for process in component.processes(ctx)
            )
            yield Task("networks", lambda: networks.ensure_networks(ctx), (*needs, *agents, *after))

    def parts_off(self, ctx: Context) -> Iterable[Part]:
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
                yield Part(project, title, purge, (file,))
        for what, title, wanted, remove in (
            ("network", "The public network", demo.wanted(answers), gone.remove_network),
            ("image", "The image", keys.wants_image(answers), gone.remove_image),
        ):
            if not wanted:
                note = notes.place(ctx, what)
                purge = functools.partial(remove, ctx, note)
                # Where people use the demo, all of it stays.
                yield Part(what, title, purge, (note,), after=("demo", "tempest"))


def _openrc(ctx: Context, account: str) -> Path:
    return ctx.cloud.etc / f"{account}-openrc"
