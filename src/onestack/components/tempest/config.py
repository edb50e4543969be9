"""``ROOT/etc/tempest.conf``: what Tempest has to know of this cloud."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.image import images_of
from onestack.cloudapi.neutron import neutron_of
from onestack.cloudapi.service_images import service_image
from onestack.cloudapi.session import admin_session
from onestack.components.provision import keys
from onestack.components.provision.networks import PRIVATE, PUBLIC
from onestack.components.tempest import paths
from onestack.host.files import ensure_file, write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import TempestResources
from onestack.model.errors import OnestackError
from onestack.model.ini import Ini, ini_text


def ensure_config(ctx: Context) -> Iterator[Change]:
    """The file; it has the administrator's password, and is for root and Tempest's user."""
    place, group = paths.configuration(ctx), paths.user(ctx)
    if found := _found(ctx):
        yield from ensure_file(place, ini_text(sections(ctx, found)), mode=0o640, group=group)
        return

    def write() -> None:
        made = _found(ctx)
        if made is None:
            raise OnestackError(
                f"{place} cannot be written",
                "the image, a flavor or the public network is not there any more",
                "run the same command again",
            )
        write_file(place, ini_text(sections(ctx, made)), mode=0o640, group=group)

    yield Change(f"write {place}", write)


def _found(ctx: Context) -> TempestResources | None:
    images = images_of(ctx).all(name=str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"]))
    by_name = compute_of(ctx).flavors()
    network = neutron_of(ctx)
    public = network.find("network", name=PUBLIC)
    names = [str(ctx.answers[f"{keys.TEMPEST}_FLAVOR_{short}NAME"]) for short in ("", "ALT_")]
    if not images or not public or any(name not in by_name for name in names):
        return None
    extensions = network.all("extension")
    objects: tuple[str, ...] = ()
    if ctx.offers("object-store"):
        objects = tuple(admin_session(ctx).get(f"{ctx.url('object-store')}/info").json())
    return TempestResources(
        image=str(images[0]["id"]),
        flavor=by_name[names[0]],
        flavor_alt=by_name[names[1]],
        flavor_name=names[0],
        flavor_alt_name=names[1],
        public_network=str(public["id"]),
        public_network_name=PUBLIC,
        private_network_name=PRIVATE if ctx.answers["CONFIG_PROVISION_DEMO"] else "",
        extensions=tuple(sorted(each["alias"] for each in extensions)),
        objects=tuple(sorted(objects)),
        guest_images=_guest_images(ctx),
    )


def _guest_images(ctx: Context) -> dict[str, str]:
    recipes = (recipe for room in ctx.components for recipe in room.guest_images)
    ids = {recipe.name: service_image(ctx, recipe) for recipe in recipes}
    return {name: image for name, image in ids.items() if image}


def sections(ctx: Context, found: TempestResources) -> Ini:
    """Tempest's own, then what each room says of itself."""
    user = str(ctx.answers["CONFIG_PROVISION_IMAGE_SSH_USER"])
    made: Ini = {
        "DEFAULT": {"log_file": "tempest.log", "use_stderr": False},
        "oslo_concurrency": {"lock_path": str(paths.place(ctx) / "lock")},
        "auth": {
            "admin_username": str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"]),
            "admin_password": ctx.secrets["admin_keystone"],
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
            # Roles that all its users had would make members of those who may only read.
            "use_dynamic_credentials": True,
        },
        "validation": {
            "run_validation": True,
            "connect_method": "floating",
            "network_for_ssh": found.public_network_name,
            "image_ssh_user": user,
            "image_alt_ssh_user": user,
        },
    }
    for declared in ctx.model:
        for section, options in declared.tempest(found).items():
            made.setdefault(section, {}).update(options)
    made["service_available"] = {
        room.tempest_service: room in ctx.components
        for room in (*ctx.components, *ctx.switched_off)
        if room.tempest_service
    }
    return made
