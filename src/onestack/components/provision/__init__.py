"""First contents of a new cloud: flavors, and the demo image when asked for."""

from __future__ import annotations

from collections.abc import Iterable

from onestack.answers.key import Key, Kind
from onestack.components.base import Component, Context, Task


class Provision(Component):
    name = "provision"
    title = "First contents"
    keys = (
        Key(
            "CONFIG_PROVISION_DEMO",
            "n",
            "Upload a first image (CONFIG_PROVISION_IMAGE_*) to the new cloud.",
            Kind.FLAG,
            note="packstack's default is y",
        ),
        Key("CONFIG_PROVISION_IMAGE_NAME", "cirros", "The demo image's name."),
        Key(
            "CONFIG_PROVISION_IMAGE_URL",
            "",
            "URL or file of the demo image; empty: a small guest made from Debian packages.",
        ),
        Key(
            "CONFIG_PROVISION_IMAGE_FORMAT",
            "qcow2",
            "The demo image's disk format.",
            Kind.CHOICE,
            ("qcow2", "raw", "vmdk", "vdi", "iso"),
        ),
    )

    def users(self, ctx: Context) -> Iterable[str]:
        return ()

    def downloads(self, ctx: Context) -> Iterable[Task]:
        from onestack.components.provision.contents import ensure_fetched

        if ctx.has("glance") and ctx.answers["CONFIG_PROVISION_DEMO"]:
            yield Task("fetch", lambda: ensure_fetched(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.provision.contents import ensure_flavors, ensure_image

        if ctx.has("nova"):
            yield Task(
                "flavors", lambda: ensure_flavors(ctx), ("process:nova-api", "identity:nova")
            )
        if ctx.has("glance") and ctx.answers["CONFIG_PROVISION_DEMO"]:
            yield Task(
                "image", lambda: ensure_image(ctx), ("process:glance-api", "identity:glance")
            )
