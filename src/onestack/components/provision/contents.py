"""Flavors and images through the cloud's own APIs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.image import images_of
from onestack.components.provision import keys
from onestack.images import guest
from onestack.images.fetch import cached, fetch, local, shown
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.declarations import Flavor

DESCRIPTION = "One of the cloud's first contents"
"""By it an image is known later: people use the same names."""

FLAVORS = (
    Flavor("m1.nano", 1, 192, 1),
    Flavor("m1.tiny", 1, 512, 1),
    Flavor("m1.small", 1, 2048, 20),
    Flavor("m1.medium", 2, 4096, 40),
    Flavor("m1.large", 4, 8192, 80),
)
"""The names upstream's documentation and tests have always used."""


def wanted_flavors(ctx: Context, present: Collection[str]) -> list[Flavor]:
    """`FLAVORS` in a cloud that has none; Tempest's two, where there are none of these names."""
    found: list[Flavor] = []
    # What services make for their own guests is nobody's choice.
    rooms = (*ctx.components, *ctx.switched_off)
    of_services = {flavor.name for room in rooms for flavor in room.flavors}
    if ctx.answers["CONFIG_NOVA_MANAGE_FLAVORS"] and of_services.issuperset(present):
        found += FLAVORS
    if ctx.answers[keys.TEMPEST]:
        names = {flavor.name for flavor in found}
        for short in ("", "ALT_"):
            key = f"{keys.TEMPEST}_FLAVOR_{short}"
            flavor = Flavor(
                str(ctx.answers[f"{key}NAME"]),
                *(int(ctx.answers[f"{key}{what}"]) for what in ("VCPUS", "RAM", "DISK")),
            )
            if flavor.name not in names and flavor.name not in present:
                found.append(flavor)
    return found


def ensure_flavors(ctx: Context) -> Iterator[Change]:
    """The wanted flavors; an operator's own choice stays."""
    compute = compute_of(ctx)
    for flavor in wanted_flavors(ctx, compute.flavors()):
        make = functools.partial(compute.make_flavor, flavor)
        yield Change(f"make the flavor {flavor.name}", make)


def ensure_fetched(ctx: Context) -> Iterator[Change]:
    """Images that are wanted, or what the test guest is built from, in the cache."""
    cache = CACHE / "images"
    for source in itertools.chain(*keys.sources(ctx.answers).values()):
        if not source and not guest.fetched(cache):
            yield Change("fetch the test guest's packages", lambda: guest.fetch_packages(cache))
        elif source and not cached(source, cache):
            get = functools.partial(_fetch, source, cache)
            yield Change(f"fetch the image {shown(source)}", get)


def _fetch(source: str, cache: Path) -> None:
    fetch(source, cache)


def ensure_image(ctx: Context) -> Iterator[Change]:
    """The demo image, with its properties."""
    answers = ctx.answers
    properties = dict(p.split("=", 1) for p in answers["CONFIG_PROVISION_IMAGE_PROPERTIES"])
    return _ensure(ctx, str(answers["CONFIG_PROVISION_IMAGE_NAME"]), _demo_image, properties)


def _demo_image(ctx: Context) -> tuple[Path, dict[str, str]]:
    source, disk_format = str(ctx.answers["CONFIG_PROVISION_IMAGE_URL"]), "qcow2"
    if source:
        path = fetch(source, CACHE / "images")
        disk_format = str(ctx.answers["CONFIG_PROVISION_IMAGE_FORMAT"])
    else:
        path = guest.cached_test_guest(CACHE / "images")
    return path, {"disk_format": disk_format, "container_format": "bare"}


def image_file(ctx: Context) -> tuple[Path, str]:
    """The file that the demo image is made of, and its format: once `ensure_file` is done."""
    source = str(ctx.answers["CONFIG_PROVISION_IMAGE_URL"])
    if source:
        return local(source, CACHE / "images"), str(ctx.answers["CONFIG_PROVISION_IMAGE_FORMAT"])
    return guest.place(CACHE / "images"), "qcow2"


def ensure_file(ctx: Context) -> Iterator[Change]:
    """The file, where the cloud's image was made by a program with another recipe.

    What is named by the answers was fetched before, or is the user's own.
    """
    cache = CACHE / "images"
    if not ctx.answers["CONFIG_PROVISION_IMAGE_URL"] and not guest.place(cache).exists():

        def build() -> None:
            _demo_image(ctx)

        yield Change("build the test guest's image, which Tempest's scenarios upload", build)


PARTS = (("-kernel", "KERNEL", "aki"), ("-ramdisk", "RAMDISK", "ari"))
"""What follows the image's name, its key, and the format of a part before the disk."""


def ensure_parts(ctx: Context) -> Iterator[Change]:
    """The image in three parts: kernel, RAM disk, and a disk that names the two."""
    name = str(ctx.answers[f"{keys.UEC}NAME"])
    for suffix, key, kind in PARTS:
        yield from _ensure(ctx, f"{name}{suffix}", functools.partial(_part, key, kind, {}))

    def disk(ctx: Context) -> tuple[Path, dict[str, str]]:
        ids = {}
        for suffix, key, _ in PARTS:
            found = images_of(ctx).all(name=f"{name}{suffix}")
            ids[f"{key.lower()}_id"] = found[0]["id"]
        return _part("DISK", "ami", ids, ctx)

    yield from _ensure(ctx, name, disk)


def _part(key: str, kind: str, more: dict[str, str], ctx: Context) -> tuple[Path, dict[str, str]]:
    path = fetch(str(ctx.answers[f"{keys.UEC}{key}_URL"]), CACHE / "images")
    return path, {"disk_format": kind, "container_format": kind, **more}


def _ensure(
    ctx: Context,
    name: str,
    source: Callable[[Context], tuple[Path, dict[str, str]]],
    properties: Mapping[str, str] | None = None,
) -> Iterator[Change]:
    """The image ``name``, uploaded whole: one left by an interrupted run goes first.

    ``source`` is asked for the file and what it is when it is needed.
    """
    images = images_of(ctx)
    present = images.all(name=name)
    ready = [image for image in present if image["status"] == "active"]
    if ready:
        missing = {k: v for k, v in (properties or {}).items() if ready[0].get(k) != v}
        if missing:
            yield Change(
                f"give the image {name} its properties",
                lambda: images.describe(ready[0], missing),
            )
        return
    for image in present:
        yield Change(
            f"remove the unfinished image {name}",
            functools.partial(images.delete, image),
        )

    def upload() -> None:
        path, kind = source(ctx)
        body = {
            "name": name,
            "description": DESCRIPTION,
            "visibility": "public",
            **kind,
            **(properties or {}),
        }
        images.upload(path, **body)

    yield Change(f"upload the image {name}", upload)
