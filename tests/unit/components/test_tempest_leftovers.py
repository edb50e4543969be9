"""What runs of Tempest's have left is removed, and nothing that was there before or is people's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from keystoneauth1.exceptions import NotFound

from onestack.cloudapi import emptying
from onestack.components.cinder import Cinder
from onestack.components.keystone import Keystone
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.tempest import leftovers, paths, shared
from onestack.components.tempest.names import describes, is_tempests
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from tests.unit.components.rooms import context_on, machine

Item = dict[str, Any]


class Answer:
    def __init__(self, body: Any) -> None:
        self.body, self.status_code = body, 200

    def json(self) -> Any:
        return self.body


class Cloud:
    """Keystone's things and shared ones, by the last word of their path."""

    def __init__(self, **lists: list[str]) -> None:
        self.lists: dict[str, list[Item]] = {
            kind: [{"id": f"{kind}:{name}", "name": name} for name in names]
            for kind, names in lists.items()
        }
        self.told: list[str] = []
        self.away = ""

    def get(self, url: str, params: Item | None = None, **_: Any) -> Answer:
        kind = urlsplit(url).path.rpartition("/")[2].replace("-", "_").removeprefix("os_")
        if self.away == kind:
            raise NotFound(url)
        asked = params or {}
        found = self.lists.get(kind, [])
        if domain := asked.get("domain_id"):
            found = [item for item in found if item.get("domain_id") == domain]
        if project := asked.get("scope.project.id"):
            found = [item for item in found if item["project"] == project]
        if "marker" in asked:
            found = []
        keys = {"types": "volume_types", "availabilityzones": "availability_zones"}
        key = keys.get(kind, kind).replace("zoneprofiles", "_zone_profiles")
        return Answer({key: list(found)})

    def delete(self, url: str, **_: Any) -> Answer:
        return self._gone("DELETE", urlsplit(url).path)

    def patch(self, url: str, **_: Any) -> Answer:
        self.told.append(f"PATCH {urlsplit(url).path.rpartition('/')[2]}")
        return Answer({"domain": {}})

    def post(self, url: str, json: Item) -> Answer:
        self.told.append(f"POST {urlsplit(url).path.rpartition('v2.1/')[2]} {json}")
        return Answer(None)

    def remove(self, what: str, identity: str) -> None:
        self._gone(what, identity)

    def _gone(self, what: str, path: str) -> Answer:
        identity = path.rpartition("/")[2]
        self.told.append(f"{what} {identity}")
        for items in self.lists.values():
            items[:] = [item for item in items if identity not in (item["id"], item["name"])]
        return Answer(None)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    made = Cloud(
        projects=["tempest", "tempest-A-111", "tempest-ci-20261129", "shop"],
        users=["tempest", "admin", "my-tempest-user-123456"],
        flavors=["m1.nano", "tempest-own-700000"],
        types=["lvm"],
    )
    for module in (leftovers, shared, emptying):
        monkeypatch.setattr(module, "admin_session", lambda ctx: made)
    monkeypatch.setattr(emptying, "empty", lambda ctx, belongs, tell=None: [])
    monkeypatch.setattr(emptying, "remove_user", lambda ctx, user: made.remove("user", user))

    def remove_project(ctx: Context, project: str, tell: Any) -> list[str]:
        made.remove("project", project)
        return []

    monkeypatch.setattr(emptying, "remove_project", remove_project)
    return made


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    made = context_on(machine(), tmp_path, Keystone(), Nova(), Cinder())
    made.cloud.etc.mkdir()
    return made


RUN = {
    "projects": ["tempest-ServersTest-1391112223"],
    "users": [
        "tempest-ServersTest-1391112223-project-admin",
        "tempest-ServersTest-1391112223-project",
        "tempest-user-543210",
    ],
    "domains": ["tempest-domain-987654"],
    "services": ["tempest-service-1777777777"],
    "flavors": ["tempest-flavor-777777"],
    "types": ["tempest-Retype-volume-type-333333"],
}


def left(cloud: Cloud, run: dict[str, list[str]] = RUN) -> None:
    for kind, names in run.items():
        items = cloud.lists.setdefault(kind, [])
        items += [
            {"id": f"{kind}:{name}", "name": name, "description": f"{name}-desc"} for name in names
        ]


def test_what_came_with_the_run_goes(cloud: Cloud, ctx: Context) -> None:
    leftovers.note(ctx)
    left(cloud)
    said: list[str] = []
    assert leftovers.remove(ctx, said.append) == []
    assert cloud.told == [
        *(f"project projects:{name}" for name in RUN["projects"]),
        *(f"user users:{name}" for name in RUN["users"]),
        "PATCH domains:tempest-domain-987654",
        "DELETE domains:tempest-domain-987654",
        "DELETE services:tempest-service-1777777777",
        "DELETE flavors:tempest-flavor-777777",
        "DELETE types:tempest-Retype-volume-type-333333",
    ]
    assert "removing the flavor tempest-flavor-777777" in said
    # people's, though some are called alike
    names = {item["name"] for items in cloud.lists.values() for item in items}
    assert {"tempest-ci-20261129", "tempest-own-700000", "tempest", "admin", "shop"} <= names
    assert not paths.before(ctx).exists()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("tempest-ServersTest-1391112223", True),
        ("tempest-ServersTest-1391112223-project-admin", True),
        ("tempest-ServersTest-139111-network", True),
        ("tempest-web-1", False),
        ("tempest-team-2-project-staging", False),
        ("tempest-x-1-network", False),
        ("tempest-team-20261", False),
        ("tempest-team-12345678901", False),
        ("tempest-team-123456-staging", False),
        (None, False),
    ],
)
def test_how_tempest_calls_things(name: str | None, theirs: bool) -> None:
    assert is_tempests(name) is theirs


def test_how_tempest_describes_projects() -> None:
    name = "tempest-ServersTest-1391112223"
    assert describes({"name": name, "description": f"{name}-desc"})
    assert describes({"name": name, "description": "tempest-desc-1391112224"})
    for said in ("", None, "the shop's staging", f"{name}x-desc"):
        assert not describes({"name": name, "description": said})


def test_a_project_that_is_not_described_goes_only_if_it_is_unused(
    cloud: Cloud, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers.note(ctx)
    name, user = "tempest-project-1391112223", "users:tempest-user-543210"
    place = {"id": "theirs", "name": name}
    cloud.lists["projects"].append(place)
    left(cloud, {"users": ["tempest-user-543210"]})
    roles: list[Item] = [{"id": "", "name": "", "project": "theirs", "user": {"id": "jane"}}]
    cloud.lists["role_assignments"] = roles
    (wrong,) = leftovers.remove(ctx)
    assert wrong.startswith(f"the project {name}: 1 may use it")
    # The run's own users are nobody.
    roles[0]["user"] = {"id": user}
    left(cloud, {"users": ["tempest-user-543210"]})
    inside: list[Item] = [{"id": "v", "name": "data", "project_id": "theirs"}]

    def empty(ctx: Context, belongs: Any, tell: Any = None) -> list[str]:
        for item in inside:
            assert not belongs.fits(item, "project_id")
        return []

    monkeypatch.setattr(emptying, "empty", empty)
    paths.before(ctx).write_text(json.dumps({"left": ["theirs", f"users {user}"]}))
    (wrong,) = leftovers.remove(ctx)
    assert wrong.startswith(f"the project {name}: 1 things are in it")
    assert "DELETE theirs" not in cloud.told and not any("project" in t for t in cloud.told)
    # The user has gone, and its role with it. Neutron makes a group by itself.
    roles.clear()
    inside[:] = [{"id": "g", "name": "default", "project_id": "theirs", "security_group_rules": []}]
    assert leftovers.remove(ctx) == []
    assert "DELETE theirs" in cloud.told


@pytest.mark.parametrize("kind", ["projects", "users", "groups"])
def test_a_domain_that_holds_something_stays(cloud: Cloud, ctx: Context, kind: str) -> None:
    """Keystone would remove all of it; Tempest's own users go with a domain of its."""
    leftovers.note(ctx)
    left(cloud, {"domains": ["tempest-domain-987654"]})
    domain = cloud.lists["domains"][0]
    cloud.lists.setdefault(kind, []).append(
        {"id": "x", "name": "jane", "domain_id": "domains:tempest-domain-987654"}
    )
    assert bool(leftovers.remove(ctx)) is (kind == "projects")
    cloud.lists["domains"] = [domain | {"description": "mine"}]
    note = {"left": ["domains domains:tempest-domain-987654"]}
    paths.before(ctx).write_text(json.dumps(note))
    cloud.told.clear()
    (wrong,) = leftovers.remove(ctx)
    assert wrong.startswith(f"the domain tempest-domain-987654: 1 {kind} are in it")
    assert cloud.told == []


def test_what_is_made_after_a_run_is_nobodys_but_peoples(
    cloud: Cloud, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something of the run stays for weeks, and people go on meanwhile."""
    leftovers.note(ctx)
    left(cloud)
    with monkeypatch.context() as patched:
        patched.setattr(emptying, "remove_project", lambda ctx, project, tell: ["stays"])
        assert leftovers.remove(ctx) == ["the project tempest-ServersTest-1391112223: stays"]
    made = {"projects": ["tempest-team-222222"], "flavors": ["tempest-big-111111"]}
    left(cloud, made)
    cloud.told.clear()
    # the next run: it begins with a removal that fails, too, notes anew, and is killed
    with monkeypatch.context() as patched:
        patched.setattr(emptying, "remove_project", lambda ctx, project, tell: ["stays"])
        leftovers.remove(ctx)
        leftovers.note(ctx)
    left(cloud, {"users": ["tempest-user-654321"]})
    assert leftovers.remove(ctx) == []
    assert cloud.told == [
        "project projects:tempest-ServersTest-1391112223",
        "user users:tempest-user-654321",
    ]
    assert not paths.before(ctx).exists()


def test_where_it_cannot_be_told_apart_nothing_goes(cloud: Cloud, ctx: Context) -> None:
    leftovers.note(ctx)
    before = paths.before(ctx).read_text()
    left(cloud)
    cloud.away = "flavors"
    (wrong,) = leftovers.remove(ctx)
    assert "flavors" in wrong and cloud.told == []
    assert paths.before(ctx).read_text() == before
    with pytest.raises(OnestackError), pytest.MonkeyPatch.context() as patched:
        patched.setattr(emptying, "empty", lambda ctx, belongs, tell=None: ["images: so it is"])
        paths.before(ctx).unlink()
        leftovers.note(ctx)
    assert not paths.before(ctx).exists()


def test_an_aggregate_lets_go_of_its_hosts(cloud: Cloud, ctx: Context) -> None:
    leftovers.note(ctx)
    aggregate: Item = {"id": 7, "name": "tempest-test_aggregate-1234567", "hosts": ["one"]}
    cloud.lists["aggregates"] = [aggregate, {"id": 8, "name": "mine", "hosts": ["one"]}]
    cloud.lists["regions"] = [
        {"id": "tempest-region-1234567", "name": ""},
        {"id": "r2", "name": "", "description": "tempest-description-1234567"},
        {"id": "RegionOne", "name": "", "description": ""},
    ]
    assert leftovers.remove(ctx) == []
    assert cloud.told == [
        "DELETE tempest-region-1234567",
        "DELETE r2",
        "POST os-aggregates/7/action {'remove_host': {'host': 'one'}}",
        "DELETE 7",
    ]


def test_what_balancers_have_goes_too(cloud: Cloud, tmp_path: Path) -> None:
    ctx = context_on(machine(), tmp_path, Keystone(), Octavia(), CONFIG_LBAAS_INSTALL="y")
    ctx.cloud.etc.mkdir(exist_ok=True)
    leftovers.note(ctx)
    for kind in ("flavors", "flavorprofiles", "availabilityzones", "availabilityzoneprofiles"):
        item = {"id": f"id-of-{kind}", "name": f"tempest-lb_admin_{kind}-1234567"}
        cloud.lists.setdefault(kind, []).append(item)
    assert leftovers.remove(ctx) == []
    assert cloud.told == [
        "DELETE id-of-flavors",
        "DELETE id-of-flavorprofiles",
        "DELETE tempest-lb_admin_availabilityzones-1234567",
        "DELETE id-of-availabilityzoneprofiles",
    ]


def test_without_a_note_nothing_is_anybodys(cloud: Cloud, ctx: Context) -> None:
    left(cloud)
    assert leftovers.remove(ctx) == []
    assert cloud.told == []


def test_a_run_that_was_killed_is_cleaned_up_after_by_the_next(cloud: Cloud, ctx: Context) -> None:
    """Its note stays, and is not taken anew while things of it are there."""
    leftovers.note(ctx)
    before = paths.before(ctx).read_text()
    left(cloud)
    leftovers.note(ctx)
    assert paths.before(ctx).read_text() == before
    assert oct(paths.before(ctx).stat().st_mode & 0o777) == "0o600"
    leftovers.remove(ctx)
    assert "project projects:tempest-ServersTest-1391112223" in cloud.told


def test_what_cannot_be_removed_is_told_and_tried_again(
    cloud: Cloud, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers.note(ctx)
    left(cloud)
    tries: list[str] = []

    def stays(ctx: Context, project: str, tell: Any) -> list[str]:
        tries.append(project)
        return ["networks: 1 are still there"]

    monkeypatch.setattr(emptying, "remove_project", stays)
    said: list[str] = []
    (wrong,) = leftovers.remove(ctx, said.append)
    assert wrong == "the project tempest-ServersTest-1391112223: networks: 1 are still there"
    assert f"not removed: {wrong}" in said
    # twice, for two projects may share something
    assert len(tries) == 2
    assert paths.before(ctx).exists()


def test_a_service_that_is_away_is_told(
    cloud: Cloud, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers.note(ctx)

    def away(ctx: Context) -> Any:
        raise OnestackError("nobody answers")

    monkeypatch.setattr(leftovers, "admin_session", away)
    assert leftovers.remove(ctx) == ["nobody answers"]
    assert paths.before(ctx).exists()


def test_a_note_that_cannot_be_read(ctx: Context) -> None:
    for content in ("[", "[]", "{}", "7"):
        paths.before(ctx).write_text(content)
        with pytest.raises(OnestackError) as broken:
            leftovers.remove(ctx)
        assert broken.value.cure.startswith(f"remove {paths.before(ctx)}")
    for note in (leftovers.Note(frozenset("a")), leftovers.Note(left=frozenset("b"))):
        note.keep(paths.before(ctx))
        assert leftovers.known(paths.before(ctx)) == note
