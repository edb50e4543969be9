"""Users and the catalog, with a keystone that lives here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.cloudapi import identity
from onestack.cloudapi import keystone as keystone_api
from onestack.model.context import Context
from onestack.model.declarations import Endpoint, Identity
from tests.unit.deploy.toys import Secrets, context


class Answer:
    def __init__(self, status: int, body: dict[str, Any] | None = None) -> None:
        self.status_code = status
        self._body = body or {}

    def json(self) -> dict[str, Any]:
        return self._body

    def raise_for_status(self) -> None:
        raise AssertionError(self.status_code)


class Keystone:
    """A session whose far end is here."""

    def __init__(self) -> None:
        self.passwords = {"rooms": "old"}
        self.said: list[str] = []
        self.numbers = iter(range(100))

    def get(self, url: str, params: dict[str, str]) -> Answer:
        kind = url.rpartition("/")[2]
        region = {"region_id": "RegionOne"}
        held: dict[str, list[dict[str, Any]]] = {
            "users": [{"id": "u", "name": "rooms"}],
            "projects": [{"id": "p", "name": "service"}],
            "roles": [{"id": "a", "name": "admin"}, {"id": "s", "name": "service"}],
            "services": [{"id": "1", "type": "lodging"}, {"id": "2", "type": "food"}],
            "endpoints": [
                {"id": "e1", "service_id": "1", "interface": "public", "url": "x", **region},
                {"id": "e2", "service_id": "1", "interface": "admin", "url": "y", **region},
                {"id": "e3", "service_id": "2", "interface": "public", "url": "z", **region},
                {"id": "e4", "service_id": "2", "interface": "admin", "region_id": "Elsewhere"},
            ],
            "role_assignments": [
                {"user": {"id": "u"}, "scope": {"project": {"id": "p"}}, "role": {"id": role}}
                for role in "as"
            ],
        }
        return Answer(200, {kind: held[kind]})

    def post(self, url: str, json: dict[str, Any], **more: Any) -> Answer:
        if url.endswith("/auth/tokens"):
            user = json["auth"]["identity"]["password"]["user"]
            right = user["id"] == "u" and self.passwords["rooms"] == user["password"]
            return Answer(201 if right else 401)
        kind = url.rpartition("/")[2]
        self.said.append(f"make {kind}")
        return Answer(201, {kind[:-1]: {"id": f"new{next(self.numbers)}", **json[kind[:-1]]}})

    def patch(self, url: str, json: dict[str, Any]) -> Answer:
        if "user" in json:
            self.passwords["rooms"] = json["user"]["password"]
        self.said.append("change")
        return Answer(200, json)

    def put(self, url: str) -> None:
        self.said.append(f"give {url.partition('/projects/')[2]}")

    def delete(self, url: str) -> None:
        self.said.append(f"delete {'/'.join(url.split('/')[-2:])}")


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Keystone:
    made = Keystone()
    monkeypatch.setattr(keystone_api, "admin_session", lambda ctx: made)
    return made


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return dataclasses.replace(context(tmp_path), answers=registry().answers({}))


def test_a_changed_password_is_noticed_and_set(keystone: Keystone, ctx: Context) -> None:
    rooms = Identity("rooms")
    changes = list(identity.ensure_identity(ctx, rooms))
    assert [c.what for c in changes] == ["set the password of the service user rooms"]
    changes[0].do()
    assert keystone.passwords == {"rooms": "secret of rooms_keystone"}
    assert list(identity.ensure_identity(ctx, rooms)) == []
    assert isinstance(ctx.secrets, Secrets)


def test_what_is_withdrawn_comes_back(keystone: Keystone, ctx: Context) -> None:
    def withdraw() -> list[str]:
        made = []
        for change in identity.withdraw(ctx, ["lodging", "food", "nothing"]):
            change.do()
            made.append(change.what)
        return made

    assert withdraw() == ["take lodging out of the catalog", "take food out of the catalog"]
    # what another region has stays, and so its service
    assert keystone.said == [
        "delete endpoints/e1",
        "delete endpoints/e2",
        "delete services/1",
        "delete endpoints/e3",
    ]
    assert withdraw() == []
    keystone.said.clear()
    keystone.passwords["rooms"] = "secret of rooms_keystone"
    for change in identity.ensure_identity(
        ctx, Identity("rooms", (Endpoint("rooms", "lodging", 5001),))
    ):
        change.do()
    assert keystone.said == ["make services", *["make endpoints"] * 3]


@pytest.mark.parametrize("may_choose", [True, False])
def test_a_password_that_a_user_has_chosen(
    keystone: Keystone, ctx: Context, may_choose: bool
) -> None:
    known = keystone_api.keystone_of(ctx)
    user = keystone_api.User("rooms", "another", may_choose=may_choose)
    whats = [change.what for change in keystone_api.ensure_user(known, user)]
    assert whats == ([] if may_choose else ["set the password of the user rooms"])


def test_a_new_user_is_given_its_roles(keystone: Keystone, ctx: Context) -> None:
    known = keystone_api.keystone_of(ctx)
    grants = (keystone_api.Grant("admin", "service"),)
    user = keystone_api.User("guest", "secret", grants)
    whats = []
    for change in keystone_api.ensure_user(known, user):
        whats.append(change.what)
        change.do()
    assert whats == ["make the user guest", "give guest the role admin in service"]
    assert keystone.said == ["make users", "give p/users/new0/roles/a"]
    assert known.granted(user, grants[0])


def test_a_user_is_removed_once(keystone: Keystone, ctx: Context) -> None:
    (change,) = keystone_api.remove_user(ctx, "rooms")
    change.do()
    assert keystone.said == ["delete users/u"]
    assert list(keystone_api.remove_user(ctx, "rooms")) == []
