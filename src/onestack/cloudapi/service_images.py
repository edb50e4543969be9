"""Images of service guests: of the project ``service``, named by their recipe."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.image import Images, Item, images_of
from onestack.host.locks import Tell, silent
from onestack.model.change import Change
from onestack.model.cloud import CACHE

if TYPE_CHECKING:
    from onestack.model.context import Context
    from onestack.model.declarations import GuestImage

KIND = "onestack_guest"
"""The property that tells which guest an image is of."""


def image_name(recipe: GuestImage) -> str:
    return f"{recipe.name}-{recipe.digest}"


def service_image(ctx: Context, recipe: GuestImage) -> str | None:
    """The id of the image that is made by today's recipe, once it is there, whole."""
    found = (each for each in _ours(ctx, recipe) if each["name"] == image_name(recipe))
    return next((str(each["id"]) for each in found if each["status"] == "active"), None)


def ensure_service_image(
    ctx: Context,
    recipe: GuestImage,
    tags: tuple[str, ...] = (),
    properties: Mapping[str, str] | None = None,
    visibility: str = "private",
    tell: Tell = silent,
) -> Iterator[Change]:
    """The image of ``recipe``, built if need be, uploaded whole.

    Interrupted, an upload is begun anew. A ``private`` one who is not of the project does not
    see. Nobody can put another in its place: services find it by `service_image`, or by tag and
    `service_project`.
    """
    images, name, cache = images_of(ctx), image_name(recipe), CACHE / "images"
    present = [each for each in _ours(ctx, recipe) if each["name"] == name]
    if any(each["status"] == "active" for each in present):
        return
    if not recipe.image(cache).exists():
        yield Change(f"build {recipe.title}", lambda: _build(recipe, tell))
    body = {
        "name": name,
        "owner": service_project(ctx),
        "visibility": visibility,
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": recipe.min_disk_gib,
        "min_ram": recipe.min_ram_mib,
        "tags": list(tags),
        "os_type": "linux",
        **(properties or {}),
        KIND: recipe.name,
    }

    def upload() -> None:
        for left in present:
            images.delete(left)
        images.upload(recipe.build(cache, tell), **body)

    yield Change(f"upload the image {name}", upload)


def _build(recipe: GuestImage, tell: Tell) -> None:
    recipe.build(CACHE / "images", tell)


def remove_older(ctx: Context, recipe: GuestImage) -> Iterator[Change]:
    """Images of earlier recipes, once there is today's and no server was made from them."""
    if service_image(ctx, recipe) is None:
        return
    images = images_of(ctx)
    for each in _ours(ctx, recipe):
        if each["name"] != image_name(recipe) and not _used(ctx, each):
            yield _removal(images, each)


def remove_all(ctx: Context, recipe: GuestImage) -> Iterator[Change]:
    """All images of the guest: its service is gone."""
    images = images_of(ctx)
    for each in _ours(ctx, recipe):
        yield _removal(images, each)


def _removal(images: Images, image: Item) -> Change:
    return Change(f"remove the image {image['name']}", functools.partial(images.delete, image))


def _used(ctx: Context, image: Item) -> bool:
    return ctx.offers("compute") and compute_of(ctx).has_servers(str(image["id"]))


def _ours(ctx: Context, recipe: GuestImage) -> list[Item]:
    return images_of(ctx).all(owner=service_project(ctx), **{KIND: recipe.name})
