"""What a service has in keystone: its user, and its entries in the catalog."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from onestack.cloudapi.keystone import (
    Grant,
    Item,
    KeystoneApi,
    User,
    ensure_project,
    ensure_user,
    keystone_of,
)
from onestack.model.change import Change
from onestack.model.errors import NotYet

if TYPE_CHECKING:
    from onestack.model.context import Context
    from onestack.model.declarations import Endpoint, Identity

SERVICE_PROJECT = "service"
SERVICE_ROLES = ("admin", "service")


def service_project(ctx: Context) -> str:
    """The id of the project of services' users, which has what they make. Raises `NotYet`."""
    found = keystone_of(ctx).projects.get(SERVICE_PROJECT)
    if not found:
        raise NotYet(f"there is no project {SERVICE_PROJECT}", cure="run the same command again")
    return str(found["id"])


def ensure_service_project(ctx: Context) -> Iterator[Change]:
    """The project ``service``, in which all service users are."""
    yield from ensure_project(keystone_of(ctx), SERVICE_PROJECT, "The services' own users")


def ensure_identity(ctx: Context, identity: Identity) -> Iterator[Change]:
    """The service user, with its password and the roles admin and service, and the endpoints."""
    known = keystone_of(ctx)
    grants = tuple(Grant(role, SERVICE_PROJECT) for role in SERVICE_ROLES)
    password = ctx.secrets[f"{identity.user}_keystone"]
    yield from ensure_user(known, User(identity.user, password, grants, title="service user"))
    for endpoint in identity.endpoints:
        yield from _ensure_endpoint(ctx, known, endpoint)


def withdraw(ctx: Context, types: Iterable[str]) -> Iterator[Change]:
    """The catalog without services of these ``types`` in the cloud's own region."""
    known, region = keystone_of(ctx), _region(ctx)
    for kind in types:
        if not (service := known.services.get(kind)):
            continue
        listed = {key: e for key, e in known.endpoints.items() if key[0] == service["id"]}
        ours = [key for key, endpoint in listed.items() if endpoint["region_id"] == region]

        if ours or not listed:
            yield Change(
                f"take {kind} out of the catalog",
                functools.partial(_withdraw, known, kind, ours, len(ours) == len(listed)),
            )


def _withdraw(known: KeystoneApi, kind: str, keys: Iterable[tuple[str, str]], whole: bool) -> None:
    """Delete these endpoints of the service ``kind``, and with ``whole`` the service."""
    for key in keys:
        known.delete("endpoints", known.endpoints.pop(key))
    if whole:
        known.delete("services", known.services.pop(kind))


def _ensure_endpoint(ctx: Context, known: KeystoneApi, endpoint: Endpoint) -> Iterator[Change]:
    if endpoint.type not in known.services:

        def make() -> None:
            known.services[endpoint.type] = known.create(
                "services",
                {
                    "name": endpoint.name,
                    "type": endpoint.type,
                    "description": endpoint.description,
                },
            )

        yield Change(f"make the service {endpoint.type}", make)
    internal = f"http://{ctx.internal}:{endpoint.port}{endpoint.path}"
    urls = {
        "public": f"https://{ctx.public}:{endpoint.port}{endpoint.path}",
        "internal": internal,
        "admin": internal,
    }
    for interface, url in urls.items():
        service = known.services.get(endpoint.type)
        present = known.endpoints.get((service["id"], interface)) if service else None
        if present and (present["url"], present["region_id"]) == (url, _region(ctx)):
            continue

        def put(interface: str = interface, url: str = url, present: Item | None = present) -> None:
            service = known.services[endpoint.type]["id"]
            body = {
                "url": url,
                "interface": interface,
                "service_id": service,
                "region_id": _region(ctx),
            }
            known.endpoints[service, interface] = (
                known.update("endpoints", present, body)
                if present
                else known.create("endpoints", body)
            )

        yield Change(f"point {endpoint.type} ({interface}) to {url}", put)


def _region(ctx: Context) -> str:
    return str(ctx.answers["CONFIG_KEYSTONE_REGION"])
