"""Quotas of the services' project, with services that live here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onestack.cloudapi import identity, quotas
from onestack.components.cinder import Cinder
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.model.component import Component
from onestack.model.errors import NotYet
from tests.unit.components.rooms import context

QUOTAS: dict[str, dict[str, Any]] = {
    "8774/v2.1/os-quota-sets/p": {"quota_set": {"id": "p", "cores": 20, "instances": 10}},
    "8776/v3/os-quota-sets/p": {"quota_set": {"id": "p", "volumes": 10, "gigabytes_lvm": -1}},
    "9696/v2.0/quotas/p": {"quota": {"security_group": 10, "project_id": "p", "trunk": -1}},
}


class Session:
    """As the services: what is put is what is got."""

    def __init__(self) -> None:
        self.held = {place: {k: dict(v) for k, v in q.items()} for place, q in QUOTAS.items()}
        self.put_to: list[str] = []

    def get(self, url: str) -> Any:
        body = self.held[url.rpartition(":")[2]]
        return SimpleNamespace(json=lambda: body)

    def put(self, url: str, json: dict[str, dict[str, int]]) -> None:
        ((key, values),) = json.items()
        self.put_to.append(url.rpartition(":")[2])
        self.held[self.put_to[-1]][key].update(values)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    monkeypatch.setattr(quotas, "admin_session", lambda ctx: made)
    projects = {"service": {"id": "p"}}
    monkeypatch.setattr(identity, "keystone_of", lambda ctx: SimpleNamespace(projects=projects))
    return made


def lifted(tmp_path: Path, *rooms: Component) -> list[str]:
    said = []
    for change in quotas.ensure_unlimited(context(tmp_path, *rooms)):
        said.append(change.what)
        change.do()
    return said


def test_they_are_lifted_once(tmp_path: Path, session: Session) -> None:
    rooms = (Nova(), Cinder(), Neutron())
    assert len(lifted(tmp_path, *rooms)) == 3
    assert session.held["8774/v2.1/os-quota-sets/p"]["quota_set"] == {
        "id": "p",
        "cores": -1,
        "instances": -1,
    }
    assert session.held["9696/v2.0/quotas/p"]["quota"]["security_group"] == -1
    assert lifted(tmp_path, *rooms) == []


def test_only_those_of_services_that_are_on(tmp_path: Path, session: Session) -> None:
    assert lifted(tmp_path, Neutron()) == ["lift the quotas of the project service (network)"]
    assert session.put_to == ["9696/v2.0/quotas/p"]


def test_before_there_is_a_project_nothing_is_asked(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "keystone_of", lambda ctx: SimpleNamespace(projects={}))
    with pytest.raises(NotYet):
        list(quotas.ensure_unlimited(context(tmp_path, Neutron())))
