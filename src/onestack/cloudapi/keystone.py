"""Keystone's users, projects, roles and domains: what is there, and what is wanted of it."""

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

Item = dict[str, Any]
ROLE_DESCRIPTION = "Made by onestack for a service"


@dataclass(frozen=True)
class Grant:
    """A role in a project of the default domain, or in a ``domain`` itself."""

    role: str
    project: str = ""
    domain: str = ""


@dataclass(frozen=True)
class User:
    """One that is wanted. ``title`` is what people are told it is."""

    name: str
    password: str
    grants: tuple[Grant, ...] = ()
    domain: str = ""
    """By name; empty: the default one."""
    description: str = ""
    title: str = "user"
    may_choose: bool = False
    """Whether a password that the user has chosen stays."""

    def __str__(self) -> str:
        return f"{self.title} {self.name}" + (f" of the domain {self.domain}" * bool(self.domain))


@dataclass
class KeystoneApi:
    """What the default domain holds, read once and kept up to date by our own writes.

    Other domains may hold many users: of those is asked when something is wanted.
    """

    session: Session
    url: str
    users: dict[str, Item] = field(default_factory=dict)
    projects: dict[str, Item] = field(default_factory=dict)
    roles: dict[str, Item] = field(default_factory=dict)
    services: dict[str, Item] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], Item] = field(default_factory=dict)
    grants: set[tuple[str, str, str]] = field(default_factory=set)
    """Ids of user, project and role."""

    def read(self) -> None:
        self.users = {u["name"]: u for u in self.find("users", domain_id="default")}
        self.projects = {p["name"]: p for p in self.find("projects", domain_id="default")}
        self.roles = {r["name"]: r for r in self.find("roles")}
        self.services = {s["type"]: s for s in self.find("services")}
        self.endpoints = {(e["service_id"], e["interface"]): e for e in self.find("endpoints")}
        self.grants = {
            (g["user"]["id"], g["scope"]["project"]["id"], g["role"]["id"])
            for g in self.find("role_assignments")
            if "user" in g and "project" in g["scope"]
        }

    def find(self, kind: str, **query: str) -> list[Item]:
        """Asked now."""
        items: list[Item] = self.session.get(f"{self.url}/{kind}", params=query).json()[kind]
        return items

    def create(self, kind: str, body: Item) -> Item:
        """Make one; one of the same name that came in between is taken as it is."""
        key = kind[:-1]
        try:
            answer = self.session.post(f"{self.url}/{kind}", json={key: body})
        except Conflict:
            found = self.find(kind, name=body["name"])
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

    def domain(self, name: str) -> Item | None:
        return next(iter(self.find("domains", name=name)), None)

    def remove_domain(self, domain: Item) -> None:
        """Keystone deletes only domains in which nobody can log in any more."""
        self.update("domains", domain, {"enabled": False})
        self.delete("domains", domain)

    def user(self, wanted: User) -> Item | None:
        if not wanted.domain:
            return self.users.get(wanted.name)
        if not (domain := self.domain(wanted.domain)):
            return None
        return next(iter(self.find("users", name=wanted.name, domain_id=domain["id"])), None)

    def make_user(self, wanted: User) -> None:
        domain = self.domain(wanted.domain) if wanted.domain else {"id": "default"}
        assert domain, f"the domain {wanted.domain} was made a moment ago"
        body = {"name": wanted.name, "domain_id": domain["id"], "password": wanted.password}
        if wanted.description:
            body["description"] = wanted.description
        made = self.create("users", body)
        if not wanted.domain:
            self.users[wanted.name] = made

    def lets_in(self, user: Item, password: str) -> bool:
        """Whether keystone lets the user in with this password."""
        who = {"id": user["id"], "password": password}
        identity = {"methods": ["password"], "password": {"user": who}}
        answer = self.session.post(
            f"{self.url}/auth/tokens",
            params={"nocatalog": ""},
            json={"auth": {"identity": identity, "scope": "unscoped"}},
            authenticated=False,
            raise_exc=False,
        )
        if answer.status_code not in (201, 401):
            answer.raise_for_status()
        return bool(answer.status_code == 201)

    def set_password(self, user: Item, password: str) -> None:
        self.update("users", user, {"password": password})

    def granted(self, wanted: User, grant: Grant) -> bool:
        user, role = self.user(wanted), self.roles.get(grant.role)
        if not user or not role:
            return False
        if not grant.domain:
            project = self.projects.get(grant.project)
            return bool(project and (user["id"], project["id"], role["id"]) in self.grants)
        if not (domain := self.domain(grant.domain)):
            return False
        query = {"user.id": user["id"], "scope.domain.id": domain["id"]}
        return role["id"] in [g["role"]["id"] for g in self.find("role_assignments", **query)]

    def give(self, wanted: User, grant: Grant) -> None:
        user, role = self.user(wanted), self.roles[grant.role]["id"]
        assert user, f"the {wanted} was made a moment ago"
        if grant.domain:
            domain = self.domain(grant.domain)
            assert domain, f"the domain {grant.domain} was made a moment ago"
            place = f"domains/{domain['id']}"
        else:
            project = self.projects[grant.project]["id"]
            place = f"projects/{project}"
            self.grants.add((user["id"], project, role))
        self.session.put(f"{self.url}/{place}/users/{user['id']}/roles/{role}")


def keystone_of(ctx: Context) -> KeystoneApi:
    """As this run knows it."""

    def read() -> KeystoneApi:
        found = KeystoneApi(admin_session(ctx), ctx.url("identity"))
        found.read()
        return found

    return ctx.run.once("keystone's contents", read)


def ensure_user(keystone: KeystoneApi, wanted: User) -> Iterator[Change]:
    """The user, with its password and its roles."""
    if not (present := keystone.user(wanted)):
        yield Change(f"make the {wanted}", lambda: keystone.make_user(wanted))
    elif not wanted.may_choose and not keystone.lets_in(present, wanted.password):
        yield Change(
            f"set the password of the {wanted}",
            lambda: keystone.set_password(present, wanted.password),
        )
    for grant in wanted.grants:
        if not keystone.granted(wanted, grant):
            place = f"the domain {grant.domain}" if grant.domain else grant.project
            yield Change(
                f"give {wanted.name} the role {grant.role} in {place}",
                functools.partial(keystone.give, wanted, grant),
            )


def ensure_project(keystone: KeystoneApi, name: str, description: str) -> Iterator[Change]:
    """One of the default domain; one of that name stays as it is."""
    if name not in keystone.projects:

        def make() -> None:
            body = {"name": name, "domain_id": "default", "description": description}
            keystone.projects[name] = keystone.create("projects", body)

        yield Change(f"make the project {name}", make)


def ensure_domain(keystone: KeystoneApi, name: str, description: str) -> Iterator[Change]:
    found = keystone.domain(name)
    if not found:
        body = {"name": name, "description": description}
        yield Change(f"make the domain {name}", lambda: _make_domain(keystone, body))
    elif not found["enabled"]:
        # as a removal leaves it that was cut short
        yield Change(f"enable the domain {name}", lambda: _enable_domain(keystone, found))


def _make_domain(keystone: KeystoneApi, body: Item) -> None:
    keystone.create("domains", body)


def _enable_domain(keystone: KeystoneApi, domain: Item) -> None:
    keystone.update("domains", domain, {"enabled": True})


def remove_domain(
    keystone: KeystoneApi, name: str, description: str, users: str
) -> Iterator[Change]:
    """No domain that `ensure_domain` made, with all users and projects in it.

    Another one of that name is somebody else's. ``users`` is what people are told of them.
    """
    found = keystone.domain(name)
    if found and found["description"] == description:
        yield Change(
            f"remove the domain {name} with {users}",
            functools.partial(keystone.remove_domain, found),
        )


def remove_user(ctx: Context, name: str) -> Iterator[Change]:
    """No service user ``name``."""
    known = keystone_of(ctx)
    if name in known.users:
        yield Change(
            f"remove the service user {name}",
            lambda: known.delete("users", known.users.pop(name)),
        )


def ensure_roles(ctx: Context, names: Iterable[str]) -> Iterator[Change]:
    """Roles of these names, which say who made them; nobody is given one."""
    known = keystone_of(ctx)
    for name in names:
        if name not in known.roles:

            def make(name: str = name) -> None:
                body = {"name": name, "description": ROLE_DESCRIPTION}
                known.roles[name] = known.create("roles", body)

            yield Change(f"make the role {name}", make)


def remove_roles(ctx: Context, names: Iterable[str]) -> Iterator[Change]:
    """No role of these names that `ensure_roles` made; whoever had one has it no more."""
    known = keystone_of(ctx)
    for name in names:
        if known.roles.get(name, {}).get("description") == ROLE_DESCRIPTION:

            def remove(name: str = name) -> None:
                known.delete("roles", known.roles.pop(name))

            yield Change(f"remove the role {name}", remove)
