"""How neutron is asked."""

from __future__ import annotations

import types
from typing import Any, cast

from keystoneauth1.session import Session

from onestack.cloudapi.neutron import NeutronApi

GROUPS = [
    {"id": "1", "name": "default", "project_id": "one"},
    {"id": "2", "name": "default", "project_id": "two"},
]


def test_nobodys_groups_are_asked_for_by_project() -> None:
    """Neutron would make a default group for a project that has none."""
    asked: list[Any] = []

    def get(url: str, params: Any) -> Any:
        asked.append((url.rpartition("/")[2], dict(params)))
        return types.SimpleNamespace(json=lambda: {"security_groups": GROUPS, "ports": []})

    api = NeutronApi(cast(Session, types.SimpleNamespace(get=get)), "http://neutron/v2.0")
    assert [g["id"] for g in api.all("security-group", project_id="two")] == ["2"]
    assert api.find("security-group", name="default", project_id="three") is None
    assert len(api.all("security-group")) == 2
    api.all("port", project_id="two")
    assert asked == [
        ("security-groups", {}),
        ("security-groups", {"name": "default"}),
        ("security-groups", {}),
        ("ports", {"project_id": "two"}),
    ]
