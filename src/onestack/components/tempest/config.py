"""``ROOT/etc/tempest.conf``: what Tempest has to know of this cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onestack.cloudapi.session import admin_session
from onestack.components.cinder import backends
from onestack.components.clients import auth_url, ca_file, host
from onestack.components.neutron.layout import Layout
from onestack.components.provision import keys
from onestack.components.provision.networks import PRIVATE, PUBLIC, Networks
from onestack.components.telemetry import INTERVAL
from onestack.components.tempest import paths
from onestack.host.files import ensure_file, write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.ini import Ini, Value, ini_text

SERVICES = {
    "cinder": "block-storage",
    "glance": "image",
    "horizon": "dashboard",
    "neutron": "network",
    "nova": "compute",
    "swift": "object-store",
    "heat": "orchestration",
    "aodh": "alarming",
    "gnocchi": "metric",
    "ceilometer": "notifications",
    "load_balancer": "load-balancer",
}
"""What Tempest and its plugins call a service, and the capability."""


@dataclass(frozen=True)
class Found:
    """What only the running cloud knows."""

    image: str
    flavor: str
    flavor_alt: str
    public: str
    """The public network."""
    extensions: tuple[str, ...] = ()
    """Neutron's."""
    objects: tuple[str, ...] = ()
    """What Swift says that it can do."""


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


def _found(ctx: Context) -> Found | None:
    session = admin_session(ctx)
    images = session.get(
        f"{ctx.url('image')}/v2/images",
        params={"name": str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"])},
    ).json()["images"]
    flavors: list[dict[str, Any]] = session.get(
        f"{ctx.url('compute')}/flavors", params={"is_public": "None"}
    ).json()["flavors"]
    by_name = {flavor["name"]: str(flavor["id"]) for flavor in flavors}
    public = Networks(ctx).find("network", name=PUBLIC)
    names = [str(ctx.answers[f"{keys.TEMPEST}_FLAVOR_{short}NAME"]) for short in ("", "ALT_")]
    if not images or not public or any(name not in by_name for name in names):
        return None
    extensions = session.get(f"{ctx.url('network')}/v2.0/extensions").json()["extensions"]
    objects: tuple[str, ...] = ()
    if ctx.offers("object-store"):
        objects = tuple(session.get(f"{ctx.url('object-store')}/info").json())
    return Found(
        image=str(images[0]["id"]),
        flavor=by_name[names[0]],
        flavor_alt=by_name[names[1]],
        public=str(public["id"]),
        extensions=tuple(sorted(each["alias"] for each in extensions)),
        objects=tuple(sorted(objects)),
    )


def sections(ctx: Context, found: Found) -> Ini:
    answers = ctx.answers
    region = str(answers["CONFIG_KEYSTONE_REGION"])
    demo = bool(answers["CONFIG_PROVISION_DEMO"])
    user = str(answers["CONFIG_PROVISION_IMAGE_SSH_USER"])
    return {
        "DEFAULT": {"log_file": "tempest.log", "use_stderr": False},
        "oslo_concurrency": {"lock_path": str(paths.place(ctx) / "lock")},
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
            "region": region,
            "v3_endpoint_type": "public",
            "ca_certificates_file": str(ca_file(ctx)),
        },
        "identity-feature-enabled": {
            # Users of a directory elsewhere are not the cloud's to change.
            "immutable_user_source": answers["CONFIG_KEYSTONE_IDENTITY_BACKEND"] == "ldap",
        },
        "compute": {
            "image_ref": found.image,
            "image_ref_alt": found.image,
            "flavor_ref": found.flavor,
            "flavor_ref_alt": found.flavor_alt,
            "region": region,
            "max_microversion": "latest",
            **({"fixed_network_name": PRIVATE} if demo else {}),
        },
        "compute-feature-enabled": {
            # Its test knows no certificate but those of the cloud's authority.
            "vnc_console": not _own_certificate(ctx, "novnc"),
            # There is one compute host, and it is not given to itself as a new one.
            "live_migration": False,
            "cold_migration": False,
            "resize": False,
            # Both want a key manager.
            "attach_encrypted_volume": False,
            "volume_multiattach": False,
        },
        "placement": {"region": region, "max_microversion": "latest"},
        "network": {
            "public_network_id": found.public,
            "floating_network_name": PUBLIC,
            "region": region,
        },
        "network-feature-enabled": {
            "api_extensions": found.extensions,
            "ipv6_subnet_attributes": True,
            "port_security": "port-security" in found.extensions,
        },
        "validation": {
            "run_validation": True,
            "connect_method": "floating",
            "network_for_ssh": PUBLIC,
            "image_ssh_user": user,
            "image_alt_ssh_user": user,
        },
        "volume": {"region": region, "max_microversion": "latest", **_pool(ctx)},
        "volume-feature-enabled": {
            # Backups are kept in the object store.
            "backup": ctx.offers("object-store"),
            "volume_revert": _pooled(ctx),
        },
        "image": {"region": region},
        **(_objects(found) if ctx.offers("object-store") else {}),
        **(_dashboard(ctx) if ctx.offers("dashboard") else {}),
        **(_heat(ctx, found) if ctx.offers("orchestration") else {}),
        **(_balancers() if ctx.offers("load-balancer") else {}),
        **(_telemetry(ctx) if ctx.offers("metric") else {}),
        "neutron_plugin_options": {"firewall_driver": "ovn" if Layout(ctx).ovn else "openvswitch"},
        "service_available": {name: ctx.offers(room) for name, room in SERVICES.items()},
    }


def _pooled(ctx: Context) -> bool:
    """Whether volumes are in onestack's own pool, and nowhere else."""
    return backends.chosen(ctx.answers) == (backends.POOL,)


def _pool(ctx: Context) -> dict[str, Value]:
    if not ctx.offers("block-storage"):
        return {}
    pool: dict[str, Value] = {"storage_protocol": "file", "vendor_name": "onestack"}
    return {"backup_driver": "swift", **(pool if _pooled(ctx) else {})}


def _objects(found: Found) -> Ini:
    return {
        "object-storage": {"operator_role": "member", "reseller_admin_role": "ResellerAdmin"},
        "object-storage-feature-enabled": {
            "discoverable_apis": found.objects,
            "container_sync": "container_sync" in found.objects,
            "object_versioning": "versioned_writes" in found.objects,
        },
    }


def _dashboard(ctx: Context) -> Ini:
    from onestack.components.horizon.settings import PLACE

    scheme = "https" if ctx.answers["CONFIG_HORIZON_SSL"] else "http"
    found: dict[str, Value] = {"dashboard_url": f"{scheme}://{host(ctx.public)}{PLACE}"}
    if _own_certificate(ctx, "horizon"):
        found["disable_ssl_certificate_validation"] = True
    return {"dashboard": found}


def _own_certificate(ctx: Context, name: str) -> bool:
    """Whether a front has one of the operator's: by any authority, for any name."""
    fronts = (front for declared in ctx.model for front in declared.frontends)
    return any(front.name == name and front.certificate for front in fronts)


def _heat(ctx: Context, found: Found) -> Ini:
    """Heat's plugin makes no users of its own."""
    answers = ctx.answers
    admin = str(answers["CONFIG_KEYSTONE_ADMIN_USERNAME"])
    password = ctx.secrets["admin_keystone"]
    return {
        "heat_plugin": {
            "auth_url": auth_url(ctx),
            "auth_version": 3,
            "region": str(answers["CONFIG_KEYSTONE_REGION"]),
            "ca_file": str(ca_file(ctx)),
            "username": admin,
            "password": password,
            "project_name": "admin",
            "admin_username": admin,
            "admin_password": password,
            "admin_project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "instance_type": str(answers[f"{keys.TEMPEST}_FLAVOR_ALT_NAME"]),
            "minimal_instance_type": str(answers[f"{keys.TEMPEST}_FLAVOR_NAME"]),
            "image_ref": found.image,
            "minimal_image_ref": found.image,
            "floating_network_name": PUBLIC,
            # They want an image with heat's own agents in it.
            "skip_scenario_tests": True,
        }
    }


def _balancers() -> Ini:
    """OVN balances connections, and looks into none."""
    return {
        "load_balancer": {
            "provider": "ovn",
            "enabled_provider_drivers": "ovn:OVN provider driver.",
        },
        "loadbalancer-feature-enabled": {
            "not_implemented_is_error": False,
            "terminated_tls_enabled": False,
            "l7_protocol_enabled": False,
            "pool_algorithms_enabled": False,
            "prometheus_listener_enabled": False,
        },
    }


def _telemetry(ctx: Context) -> Ini:
    return {"telemetry": {"ceilometer_polling_interval": ctx.answers[INTERVAL]}}
