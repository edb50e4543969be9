"""Images of service guests in a glance that lives here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onestack.cloudapi import identity, service_images
from onestack.model.context import Context
from onestack.model.errors import NotYet
from tests.unit.deploy.toys import context

Item = dict[str, Any]


class Toy:
    name, title, digest = "toy", "a toy", "0123456789ab"
    min_disk_gib, min_ram_mib = 2, 512

    def __init__(self) -> None:
        self.built = 0

    def image(self, cache: Path) -> Path:
        return cache / f"toy-{self.digest}.qcow2"

    def build(self, cache: Path, tell: Callable[[str], None]) -> Path:
        self.built += 1
        return self.image(cache)


@dataclass
class Glance:
    held: list[Item] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    broken: bool = False

    def all(self, **query: str) -> list[Item]:
        return [i for i in self.held if all(i.get(k) == v for k, v in query.items())]

    def upload(self, path: Path, **body: Any) -> None:
        item = {"id": f"id{len(self.held)}", "status": "saving", **body}
        self.held.append(item)
        if self.broken:
            raise ConnectionError
        item["status"] = "active"

    def delete(self, image: Item) -> None:
        self.held.remove(image)

    def has_servers(self, image: str) -> bool:
        return image in self.used


@pytest.fixture
def glance(monkeypatch: pytest.MonkeyPatch) -> Glance:
    made = Glance()
    keystone = SimpleNamespace(projects={"service": {"id": "s"}})
    monkeypatch.setattr(service_images, "images_of", lambda ctx: made)
    monkeypatch.setattr(service_images, "compute_of", lambda ctx: made)
    monkeypatch.setattr(identity, "keystone_of", lambda ctx: keystone)
    monkeypatch.setattr(Context, "offers", lambda ctx, capability: True)
    return made


def ensure(ctx: Context, toy: Toy) -> list[str]:
    said = []
    properties = {"hw_rng_model": "virtio"}
    for change in service_images.ensure_service_image(ctx, toy, ("toys",), properties):
        said.append(change.what)
        change.do()
    return said


def test_an_image_is_built_and_uploaded_once(tmp_path: Path, glance: Glance) -> None:
    ctx, toy = context(tmp_path), Toy()
    assert service_images.service_image(ctx, toy) is None
    assert ensure(ctx, toy) == ["build a toy", "upload the image toy-0123456789ab"]
    (image,) = glance.held
    for name, value in {
        "name": "toy-0123456789ab",
        "owner": "s",
        "visibility": "private",
        "tags": ["toys"],
        "min_disk": 2,
        "min_ram": 512,
        "hw_rng_model": "virtio",
    }.items():
        assert image[name] == value
    assert ensure(ctx, toy) == []
    assert service_images.service_image(ctx, toy) == "id0"


def test_an_upload_that_broke_off_is_begun_anew(tmp_path: Path, glance: Glance) -> None:
    ctx, toy = context(tmp_path), Toy()
    glance.broken = True
    with pytest.raises(ConnectionError):
        ensure(ctx, toy)
    assert service_images.service_image(ctx, toy) is None
    glance.broken = False
    ensure(ctx, toy)
    assert [image["status"] for image in glance.held] == ["active"]


def test_older_ones_go_when_nobody_boots_from_them(tmp_path: Path, glance: Glance) -> None:
    ctx, toy = context(tmp_path), Toy()
    ours = {"owner": "s", service_images.KIND: "toy", "status": "active"}
    glance.held += [{**ours, "id": "used", "name": "toy-1"}, {**ours, "id": "old", "name": "toy-2"}]
    strangers = {**ours, "id": "strangers", "name": "toy-0123456789ab", "owner": "somebody"}
    glance.held += [strangers, {"id": "other", "owner": "s", "name": "x", "status": "active"}]
    glance.used = {"used"}
    # Before today's is there, none goes; and a stranger's of that name is not today's.
    assert not list(service_images.remove_older(ctx, toy))
    ensure(ctx, toy)
    for change in service_images.remove_older(ctx, toy):
        assert change.what == "remove the image toy-2"
        change.do()
    names = [image["id"] for image in glance.held]
    assert names == ["used", "strangers", "other", "id4"]
    for change in service_images.remove_all(ctx, toy):
        change.do()
    assert [image["id"] for image in glance.held] == ["strangers", "other"]


def test_without_the_services_project_there_is_nothing_yet(
    tmp_path: Path, glance: Glance, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = SimpleNamespace(projects={})
    monkeypatch.setattr(identity, "keystone_of", lambda ctx: empty)
    with pytest.raises(NotYet):
        service_images.service_image(context(tmp_path), Toy())
