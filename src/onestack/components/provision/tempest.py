"""``ROOT/etc/tempest.conf``: what Tempest has to know of this cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onestack.cloudapi.session import admin_session
from onestack.components.base import Context, Ini, ini_text
from onestack.components.clients import auth_url, ca_file
from onestack.components.provision import keys
from onestack.components.provision.networks import PRIVATE, PUBLIC, Networks
from onestack.errors import OnestackError
from onestack.host.change import Change
from onestack.host.files import ensure_file, write_file

SERVICES = ("cinder", "glance", "horizon", "neutron", "nova", "swift")


def ensure_config(ctx: Context) -> Iterator[Change]:
    """The file, with the ids that the cloud has given; for root only: it has a password."""
    place = ctx.cloud.etc / "tempest.conf"
    if ids := _ids(ctx):
        yield from ensure_file(place, ini_text(sections(ctx, ids)), mode=0o600)
        return

    def write() -> None:
        made = _ids(ctx)
        if made is None:
            raise OnestackError(
                f"{place} cannot be written",
                "the image, a flavor or the public network is not there any more",
                "run the same command again",
            )
        write_file(place, ini_text(sections(ctx, made)), mode=0o600)

    yield Change(f"write {place}", write)


def _ids(ctx: Context) -> dict[str, str] | None:
    session = admin_session(ctx)
    images = session.get(
        f"http://{ctx.internal}:9292/v2/images",
        params={"name": str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"])},
    ).json()["images"]
    flavors: list[dict[str, Any]] = session.get(
        f"http://{ctx.internal}:8774/v2.1/flavors", params={"is_public": "None"}
    ).json()["flavors"]
    by_name = {flavor["name"]: str(flavor["id"]) for flavor in flavors}
    public = Networks(ctx).find("network", name=PUBLIC)
    names = [str(ctx.answers[f"{keys.TEMPEST}_FLAVOR_{short}NAME"]) for short in ("", "ALT_")]
    if not images or not public or any(name not in by_name for name in names):
        return None
    return {
        "image": str(images[0]["id"]),
        "flavor": by_name[names[0]],
        "flavor_alt": by_name[names[1]],
        "public": str(public["id"]),
    }


def sections(ctx: Context, ids: dict[str, str]) -> Ini:
    answers = ctx.answers
    work = ctx.cloud.data / "tempest"
    return {
        "DEFAULT": {"log_file": "tempest.log", "use_stderr": False},
        "oslo_concurrency": {"lock_path": str(work / "lock")},
        "auth": {
            "admin_username": str(answers["CONFIG_KEYSTONE_ADMIN_USERNAME"]),
            "admin_password": ctx.secrets["admin_keystone"],
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
            "use_dynamic_credentials": True,
            "tempest_roles": "member",
        },
        "identity": {
            "auth_version": "v3",
            "uri_v3": auth_url(ctx),
            "region": str(answers["CONFIG_KEYSTONE_REGION"]),
            "v3_endpoint_type": "public",
            "ca_certificates_file": str(ca_file(ctx)),
        },
        "compute": {
            "image_ref": ids["image"],
            "image_ref_alt": ids["image"],
            "flavor_ref": ids["flavor"],
            "flavor_ref_alt": ids["flavor_alt"],
            "region": str(answers["CONFIG_KEYSTONE_REGION"]),
            **({"fixed_network_name": PRIVATE} if answers["CONFIG_PROVISION_DEMO"] else {}),
        },
        "compute-feature-enabled": {
            "vnc_console": True,
            # There is one compute host.
            "live_migration": False,
            "cold_migration": False,
        },
        "network": {
            "public_network_id": ids["public"],
            "floating_network_name": PUBLIC,
            "region": str(answers["CONFIG_KEYSTONE_REGION"]),
        },
        "validation": {
            "run_validation": True,
            "connect_method": "floating",
            "image_ssh_user": str(answers["CONFIG_PROVISION_IMAGE_SSH_USER"]),
            "image_alt_ssh_user": str(answers["CONFIG_PROVISION_IMAGE_SSH_USER"]),
        },
        "volume": {"region": str(answers["CONFIG_KEYSTONE_REGION"])},
        "service_available": {name: ctx.has(name) for name in SERVICES},
    }
