"""Types of volumes that a cloud offers: made once, whole, and left as they were changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from keystoneauth1.session import Session

from onestack.cloudapi.block_storage import BlockStorage
from onestack.components.cinder import types
from tests.unit.components.rooms import context


class Cinder:
    """As much of cinder's API as the types ask for."""

    def __init__(self) -> None:
        self.types: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    def get(self, url: str, **more: Any) -> Any:
        path = url.removeprefix("http://cinder/v3")
        assert path == "/types" and more["params"] == {"is_public": "None"}
        return answer({"volume_types": list(self.types.values())})

    def post(self, url: str, json: dict[str, Any], **more: Any) -> Any:
        path = url.removeprefix("http://cinder/v3")
        self.asked.append(path)
        made = {"id": f"id-{json['volume_type']['name']}", **json["volume_type"]}
        self.types[made["name"]] = made
        return answer({"volume_type": made})


def answer(body: dict[str, Any]) -> Any:
    return SimpleNamespace(json=lambda: body)


@pytest.fixture
def cinder(monkeypatch: pytest.MonkeyPatch) -> Cinder:
    made = Cinder()
    storage = BlockStorage(cast(Session, made), "http://cinder/v3")
    monkeypatch.setattr(types, "block_storage_of", lambda ctx: storage)
    return made


def test_a_type_for_several_servers_is_made_once(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path)
    changes = list(types.ensure_types(ctx, (types.MULTIATTACH,)))
    assert [change.what for change in changes] == ["make the volume type multiattach"]
    assert cinder.asked == [], "a dry run makes nothing"
    changes[0].do()
    made = cinder.types["multiattach"]
    # the very text that cinder looks for
    assert made["extra_specs"] == {"multiattach": "<is> True"}
    assert made["os-volume-type-access:is_public"] is True
    made["extra_specs"] = {"by": "hand"}
    assert list(types.ensure_types(ctx, (types.MULTIATTACH,))) == []
