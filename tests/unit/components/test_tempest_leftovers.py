"""What runs of Tempest's have left is removed, and nothing that was there before or is people's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from onestack.cloudapi import emptying
from onestack.components.cinder import Cinder
from onestack.components.keystone import Keystone
from onestack.components.nova import Nova
from onestack.components.tempest import leftovers, paths
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
        self.lists = {
            kind: [{"id": f"{kind}:{name}", "name": name} for name in names]
            for kind, names in lists.items()
        }
        self.told: list[str] = []

    def get(self, url: str, **_: Any) -> Answer:
        kind = urlsplit(url).path.rpartition("/")[2].replace("-", "_")
        return Answer({{"types": "volume_types"}.get(kind, kind): self.lists.get(kind, [])})

    def delete(self, url: str, **_: Any) -> Answer:
        return self._gone("DELETE", urlsplit(url).path)

    def patch(self, url: str, **_: Any) -> Answer:
        self.told.append(f"PATCH {urlsplit(url).path.rpartition('/')[2]}")
        return Answer(None)

    def remove(self, what: str, identity: str) -> None:
        self._gone(what, identity)

    def _gone(self, what: str, path: str) -> Answer:
        identity = path.rpartition("/")[2]
        self.told.append(f"{what} {identity}")
        for items in self.lists.values():
            items[:] = [item for item in items if item["id"] != identity]
        return Answer(None)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    made = Cloud(
        projects=["tempest", "tempest-A-111-desc", "tempest-ci-20261129", "shop"],
        users=["tempest", "admin", "my-tempest-user-12"],
        flavors=["m1.nano", "tempest-own-7"],
        types=["lvm"],
    )
    monkeypatch.setattr(leftovers, "admin_session", lambda ctx: made)
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
        "tempest-user-5",
    ],
    "domains": ["tempest-domain-9"],
    "flavors": ["tempest-flavor-77"],
    "types": ["tempest-Retype-volume-type-3"],
}


def left(cloud: Cloud) -> None:
    for kind, names in RUN.items():
        items = cloud.lists.setdefault(kind, [])
        items += [{"id": f"{kind}:{name}", "name": name} for name in names]


def test_what_came_with_the_run_goes(cloud: Cloud, ctx: Context) -> None:
    leftovers.note(ctx)
    left(cloud)
    said: list[str] = []
    assert leftovers.remove(ctx, said.append) == []
    assert cloud.told == [
        *(f"project projects:{name}" for name in RUN["projects"]),
        "PATCH domains:tempest-domain-9",
        "DELETE domains:tempest-domain-9",
        *(f"user users:{name}" for name in RUN["users"]),
        "DELETE flavors:tempest-flavor-77",
        "DELETE types:tempest-Retype-volume-type-3",
    ]
    assert "removing the flavor tempest-flavor-77" in said
    # people's, though some are called alike
    names = {item["name"] for items in cloud.lists.values() for item in items}
    assert {"tempest-ci-20261129", "tempest-own-7", "tempest", "admin", "shop"} <= names
    assert not paths.before(ctx).exists()


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
    paths.before(ctx).write_text("[")
    with pytest.raises(OnestackError) as broken:
        leftovers.remove(ctx)
    assert broken.value.cure == f"remove {paths.before(ctx)}"
    paths.before(ctx).write_text(json.dumps(["a"]))
    assert leftovers.known(paths.before(ctx)) == frozenset({"a"})
