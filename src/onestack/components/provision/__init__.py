"""First contents of a new cloud: flavors, an image, the demo's networks, what Tempest needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.clients import openrc
from onestack.components.provision import keys, state
from onestack.images.guest import TEST_GUEST
from onestack.model.change import Change
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Scope, Task, TempestResources
from onestack.model.findings import Finding
from onestack.model.ini import Ini
from onestack.network import demo


class Project(Feature):
    """A project with a user, each of which has an openrc file."""

    def __init__(self, name: str, title: str, key: str, user_key: str = "") -> None:
        self.name, self.title = name, title
        self._key, self._user_key = key, user_key

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers[self._key])

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (_openrc(ctx, self._user(ctx)),)

    def purge(self, ctx: Context) -> Iterator[Change]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision.leftovers import remove_project

        user = self._user(ctx)
        yield from remove_project(ctx, self.name, user, _openrc(ctx, user))

    def _user(self, ctx: Context) -> str:
        return str(ctx.answers[self._user_key]) if self._user_key else self.name


class PublicNetwork(Feature):
    name = "network"
    title = "The public network"
    # Where people use the demo, all of it stays.
    after = ("demo", "tempest")

    def on(self, ctx: Context) -> bool:
        return demo.wanted(ctx.answers)

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (state.place(ctx, self.name),)

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.components.provision.leftovers import remove_network

        yield from remove_network(ctx, state.place(ctx, self.name))


class Image(Feature):
    name = "image"
    title = "The image"
    after = ("demo", "tempest")

    def on(self, ctx: Context) -> bool:
        return keys.wants_image(ctx.answers)

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (state.place(ctx, self.name),)

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.components.provision.leftovers import remove_image

        yield from remove_image(ctx, state.place(ctx, self.name))


class Provision(Component):
    name = "provision"
    title = "First contents"
    provides = (
        Capability(
            "contents", tasks=("provision:flavors", "provision:image", "provision:networks")
        ),
    )
    secrets = keys.SECRETS
    features = (
        Project("demo", "The demo", "CONFIG_PROVISION_DEMO"),
        Project("tempest", "Tempest's account", keys.TEMPEST, f"{keys.TEMPEST}_USER"),
        PublicNetwork(),
        Image(),
    )
    keys = keys.KEYS
    guest_images = (TEST_GUEST,)

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

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        from onestack.components.provision.contents import image_file

        path, disk_format = image_file(ctx)
        # Some scenarios upload an image of their own.
        return {"scenario": {"img_file": str(path), "img_disk_format": disk_format}}

    def downloads(self, ctx: Context) -> Iterable[Task]:
        from onestack.components.provision.contents import ensure_fetched

        if ctx.offers("image"):
            yield Task("fetch", lambda: ensure_fetched(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision import contents, networks

        flavors, image = ("capability:compute",), ("capability:image",)
        if ctx.offers("compute"):
            yield Task("flavors", lambda: contents.ensure_flavors(ctx), flavors, scope=Scope.CLOUD)
        if ctx.offers("image") and keys.wants_image(ctx.answers):
            yield Task("image", lambda: contents.ensure_image(ctx), image, scope=Scope.CLOUD)
        if ctx.offers("image") and ctx.answers[keys.TEMPEST]:
            after = ("provision:image",)
            yield Task("file", lambda: contents.ensure_file(ctx), after, scope=Scope.CLOUD)
        if ctx.offers("image") and ctx.answers[f"{keys.UEC}KERNEL_URL"]:
            yield Task("parts", lambda: contents.ensure_parts(ctx), image, scope=Scope.CLOUD)
        if keys.accounts(ctx.answers):
            yield Task(
                "accounts",
                lambda: networks.ensure_accounts(ctx),
                ("capability:identity",),
                scope=Scope.CLOUD,
            )
        if ctx.offers("network") and demo.wanted(ctx.answers):
            accounts = ("provision:accounts",) if keys.accounts(ctx.answers) else ()
            # nobody answers for a network's port before the agents do
            needs = ("provider:network", *accounts)
            yield Task("networks", lambda: networks.ensure_networks(ctx), needs, scope=Scope.CLOUD)


def _openrc(ctx: Context, account: str) -> Path:
    return ctx.cloud.etc / f"{account}-openrc"
