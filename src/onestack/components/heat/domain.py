"""Heat's own domain in keystone: where the users are that stacks make for their guests."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from keystoneauth1.session import Session

from onestack.cloudapi.identity import lets_in
from onestack.cloudapi.session import admin_session
from onestack.components.openstack import keystone_url
from onestack.model.change import Change
from onestack.model.context import Context

Item = dict[str, Any]
DESCRIPTION = "Users that stacks make"


def ensure_domain(ctx: Context) -> Iterator[Change]:
    """The domain, its administrator, and that one's right to administer it."""
    keystone = _Keystone(admin_session(ctx), keystone_url(ctx))
    domain = str(ctx.answers["CONFIG_HEAT_DOMAIN"])
    if not (found := keystone.find("domains", name=domain)):
        body = {"name": domain, "description": DESCRIPTION}
        yield Change(f"make the domain {domain}", lambda: keystone.create("domains", body))
    elif not found[0]["enabled"]:
        # as a removal leaves it that was cut short
        yield Change(f"enable the domain {domain}", lambda: keystone.enable(found[0]["id"], True))

    user = str(ctx.answers["CONFIG_HEAT_DOMAIN_ADMIN"])
    password = ctx.secrets["CONFIG_HEAT_DOMAIN_PASSWORD"]
    present = keystone.administrator(domain, user)
    if present and not keystone.lets_in(present, password):
        yield Change(
            f"set the password of the user {user} of the domain {domain}",
            lambda: keystone.set_password(present, password),
        )
    elif not present:

        def make() -> None:
            keystone.create(
                "users",
                {
                    "name": user,
                    "domain_id": keystone.domain(domain)["id"],
                    "password": password,
                    "description": "Administrator of the domain, for heat",
                },
            )

        yield Change(f"make the user {user} of the domain {domain}", make)

    if not keystone.administers(domain, user):
        yield Change(
            f"let {user} administer the domain {domain}", lambda: keystone.grant(domain, user)
        )


def remove_domain(ctx: Context) -> Iterator[Change]:
    """The domain that `ensure_domain` made, with all users and projects of stacks.

    Another one of that name is somebody else's.
    """
    keystone = _Keystone(admin_session(ctx), keystone_url(ctx))
    name = str(ctx.answers["CONFIG_HEAT_DOMAIN"])
    for domain in keystone.find("domains", name=name):
        if domain["description"] == DESCRIPTION:
            yield Change(
                f"remove the domain {name} with the users that stacks made",
                functools.partial(keystone.remove_domain, domain["id"]),
            )


class _Keystone:
    """The few requests that this takes."""

    def __init__(self, session: Session, url: str) -> None:
        self._session = session
        self._url = url

    def find(self, kind: str, **query: str) -> list[Item]:
        found: list[Item] = self._session.get(f"{self._url}/{kind}", params=query).json()[kind]
        return found

    def create(self, kind: str, body: Item) -> None:
        self._session.post(f"{self._url}/{kind}", json={kind[:-1]: body})

    def enable(self, domain: str, enabled: bool) -> None:
        place = f"{self._url}/domains/{domain}"
        self._session.patch(place, json={"domain": {"enabled": enabled}})

    def remove_domain(self, identity: str) -> None:
        """Keystone deletes only domains in which nobody can log in any more."""
        self.enable(identity, False)
        self._session.delete(f"{self._url}/domains/{identity}")

    def lets_in(self, user: Item, password: str) -> bool:
        return lets_in(self._session, self._url, {"id": user["id"], "password": password})

    def set_password(self, user: Item, password: str) -> None:
        place = f"{self._url}/users/{user['id']}"
        self._session.patch(place, json={"user": {"password": password}})

    def domain(self, name: str) -> Item:
        return self.find("domains", name=name)[0]

    def administrator(self, domain: str, name: str) -> Item | None:
        """The user ``name`` of ``domain``, if both are there."""
        domains = self.find("domains", name=domain)
        users = self.find("users", name=name, domain_id=domains[0]["id"]) if domains else []
        return users[0] if users else None

    def administers(self, domain: str, name: str) -> bool:
        user = self.administrator(domain, name)
        if not user:
            return False
        query = {"user.id": user["id"], "scope.domain.id": user["domain_id"]}
        grants = self.find("role_assignments", **query)
        return self._role() in [grant["role"]["id"] for grant in grants]

    def grant(self, domain: str, name: str) -> None:
        user = self.administrator(domain, name)
        assert user
        path = f"domains/{user['domain_id']}/users/{user['id']}/roles/{self._role()}"
        self._session.put(f"{self._url}/{path}")

    def _role(self) -> str:
        return str(self.find("roles", name="admin")[0]["id"])
