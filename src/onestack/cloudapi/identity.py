"""Service users, services and endpoints, through keystone's own API."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystoneauth1.exceptions import Conflict
from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session
from onestack.model.change import Change

if TYPE_CHECKING:
    from onestack.model.context import Context
    from onestack.model.declarations import Endpoint, Identity

Item = dict[str, Any]
SERVICE_PROJECT = "service"
ROLE_DESCRIPTION = "Made by onestack for a service"


@dataclass
class Directory:
    """What keystone holds, read once and kept up to date by our own writes."""

    session: Session
    url: str
    users: dict[str, Item] = field(default_factory=dict)
    projects: dict[str, Item] = field(default_factory=dict)
    roles: dict[str, Item] = field(default_factory=dict)
    services: dict[str, Item] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], Item] = field(default_factory=dict)
    grants: set[tuple[str, str, str]] = field(default_factory=set)

    def read(self) -> None:
        self.users = {u["name"]: u for u in self._list("users", domain_id="default")}
        self.projects = {p["name"]: p for p in self._list("projects", domain_id="default")}
        self.roles = {r["name"]: r for r in self._list("roles")}
        self.services = {s["type"]: s for s in self._list("services")}
        self.endpoints = {(e["service_id"], e["interface"]): e for e in self._list("endpoints")}
        self.grants = {
            (g["user"]["id"], g["scope"]["project"]["id"], g["role"]["id"])
            for g in self._list("role_assignments")
            if "user" in g and "project" in g["scope"]
        }

    def create(self, kind: str, body: Item) -> Item:
        """Make one; one of the same name that came in between is taken as it is."""
        key = kind[:-1]
        try:
            answer = self.session.post(f"{self.url}/{kind}", json={key: body})
        except Conflict:
            found = self._list(kind, name=body["name"])
            return found[0]
        item: Item = answer.json()[key]
        return item

    def update(self, kind: str, item: Item, body: Item) -> Item:
        key = kind[:-1]
        answer = self.session.patch(f"{self.url}/{kind}/{item['id']}", json={key: body})
        changed: Item = answer.json()[key]
        return changed

    def delete(self, kind: str, item: Item) -> None:
        self.session.delete(f"{self.url}/{kind}/{item['id']}")

    def withdraw(self, kind: str, keys: Iterable[tuple[str, str]], whole: bool) -> None:
        """Delete these endpoints of the service ``kind``, and with ``whole`` the service."""
        for key in keys:
            self.delete("endpoints", self.endpoints.pop(key))
        if whole:
            self.delete("services", self.services.pop(kind))

    def lets_in(self, user: str, password: str) -> bool:
        """Whether ``user`` of the default domain has this password."""
        who = {"name": user, "domain": {"id": "default"}, "password": password}
        return lets_in(self.session, self.url, who)

    def grant(self, user: str, project: str, role: str) -> None:
        self.session.put(f"{self.url}/projects/{project}/users/{user}/roles/{role}")
        self.grants.add((user, project, role))

    def _list(self, kind: str, **query: str) -> list[Item]:
        items: list[Item] = self.session.get(f"{self.url}/{kind}", params=query).json()[kind]
        return items


def lets_in(session: Session, url: str, who: Item) -> bool:
    """Whether keystone lets ``who`` in: a user, by name or id, with ``password``."""
    identity = {"methods": ["password"], "password": {"user": who}}
    answer = session.post(
        f"{url}/auth/tokens",
        params={"nocatalog": ""},
        json={"auth": {"identity": identity, "scope": "unscoped"}},
        authenticated=False,
        raise_exc=False,
    )
    if answer.status_code not in (201, 401):
        answer.raise_for_status()
    return bool(answer.status_code == 201)


def directory(ctx: Context) -> Directory:
    """Keystone's contents as this run knows them."""

    def read() -> Directory:
        found = Directory(admin_session(ctx), f"http://{ctx.internal}:5000/v3")
        found.read()
        return found

    return ctx.run.once("keystone's contents", read)


def ensure_service_project(ctx: Context) -> Iterator[Change]:
    """The project ``service``, in which all service users are."""
    known = directory(ctx)
    if SERVICE_PROJECT not in known.projects:

        def make() -> None:
            known.projects[SERVICE_PROJECT] = known.create(
                "projects",
                {
                    "name": SERVICE_PROJECT,
                    "domain_id": "default",
                    "description": "The services' own users",
                },
            )

        yield Change("make the project 'service'", make)


def ensure_identity(ctx: Context, identity: Identity) -> Iterator[Change]:
    """The service user, with its password and the roles admin and service, and the endpoints."""
    known = directory(ctx)
    yield from _ensure_user(ctx, known, identity.user)
    for endpoint in identity.endpoints:
        yield from _ensure_endpoint(ctx, known, endpoint)


def withdraw(ctx: Context, types: Iterable[str]) -> Iterator[Change]:
    """The catalog without services of these ``types`` in the cloud's own region."""
    known, region = directory(ctx), _region(ctx)
    for kind in types:
        if not (service := known.services.get(kind)):
            continue
        listed = {key: e for key, e in known.endpoints.items() if key[0] == service["id"]}
        ours = [key for key, endpoint in listed.items() if endpoint["region_id"] == region]

        if ours or not listed:
            yield Change(
                f"take {kind} out of the catalog",
                functools.partial(known.withdraw, kind, ours, len(ours) == len(listed)),
            )


def remove_user(ctx: Context, name: str) -> Iterator[Change]:
    """No service user ``name``."""
    known = directory(ctx)
    if name in known.users:
        yield Change(
            f"remove the service user {name}",
            lambda: known.delete("users", known.users.pop(name)),
        )


def ensure_roles(ctx: Context, names: Iterable[str]) -> Iterator[Change]:
    """Roles of these names, which say who made them; nobody is given one."""
    known = directory(ctx)
    for name in names:
        if name not in known.roles:

            def make(name: str = name) -> None:
                body = {"name": name, "description": ROLE_DESCRIPTION}
                known.roles[name] = known.create("roles", body)

            yield Change(f"make the role {name}", make)


def remove_roles(ctx: Context, names: Iterable[str]) -> Iterator[Change]:
    """No role of these names that `ensure_roles` made; whoever had one has it no more."""
    known = directory(ctx)
    for name in names:
        if known.roles.get(name, {}).get("description") == ROLE_DESCRIPTION:

            def remove(name: str = name) -> None:
                known.delete("roles", known.roles.pop(name))

            yield Change(f"remove the role {name}", remove)


def _ensure_user(ctx: Context, known: Directory, name: str) -> Iterator[Change]:
    password = ctx.secrets[f"{name}_keystone"]
    if name not in known.users:

        def make() -> None:
            known.users[name] = known.create(
                "users",
                {
                    "name": name,
                    "domain_id": "default",
                    "password": password,
                },
            )

        yield Change(f"make the service user {name}", make)
    elif not known.lets_in(name, password):
        yield Change(
            f"set the password of the service user {name}",
            lambda: _ignore(known.update("users", known.users[name], {"password": password})),
        )
    for role in ("admin", "service"):
        user, project = known.users.get(name), known.projects.get(SERVICE_PROJECT)
        wanted = (user["id"], project["id"], known.roles[role]["id"]) if user and project else None
        if wanted not in known.grants:

            def give(role: str = role) -> None:
                known.grant(
                    known.users[name]["id"],
                    known.projects[SERVICE_PROJECT]["id"],
                    known.roles[role]["id"],
                )

            yield Change(f"give {name} the role {role}", give)


def _ensure_endpoint(ctx: Context, known: Directory, endpoint: Endpoint) -> Iterator[Change]:
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


def _ignore(result: object) -> None:
    """A change has no result."""


def _region(ctx: Context) -> str:
    return str(ctx.answers["CONFIG_KEYSTONE_REGION"])
