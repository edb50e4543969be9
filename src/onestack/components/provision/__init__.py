"""First contents of a new cloud: flavors, an image, the demo's networks, what Tempest needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.answers.values import Answers
from onestack.components.base import Component, ConfigFile, Context, Part, Task
from onestack.components.clients import openrc
from onestack.components.provision import keys
from onestack.host.change import Change
from onestack.host.files import ensure_no_file
from onestack.network import demo


class Provision(Component):
    name = "provision"
    title = "First contents"
    keys = keys.KEYS

    def contradictions(self, answers: Answers) -> Iterable[str]:
        return keys.contradictions(answers)

    def users(self, ctx: Context) -> Iterable[str]:
        return ()

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        for account in keys.accounts(ctx.answers):
            other = {
                "OS_USERNAME": account,
                "OS_PROJECT_NAME": keys.project(ctx.answers),
                "OS_PASSWORD": ctx.secrets[f"{keys.secret(account)}_keystone"],
            }
            yield ConfigFile(
                ctx.cloud.etc / f"{account}-openrc",
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
        def purge(project: str, file: str = "") -> Iterator[Change]:
            # Imported late: answers and checks run where only the standard library is.
            from onestack.components.provision import leftovers

            yield from leftovers.remove(ctx, project)
            if file:
                yield from ensure_no_file(ctx.cloud.etc / file)

        if not ctx.answers["CONFIG_PROVISION_DEMO"]:
            file = "demo-openrc"
            yield Part("demo", "The demo", lambda: purge("demo", file), (ctx.cloud.etc / file,))
        if not ctx.answers[keys.TEMPEST]:
            yield Part("tempest", "Tempest's account", lambda: purge("tempest"))
