"""Types of volumes that a cloud offers: made once, whole, and left as they were changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from keystoneauth1.session import Session

from onestack.cloudapi.block_storage import BlockStorage
from onestack.components.cinder import types
from onestack.model.context import Context
from tests.unit.components.rooms import context


class Cinder:
    """As much of cinder's API as the types ask for."""

    def __init__(self) -> None:
        self.types: dict[str, dict[str, Any]] = {}
        self.groups: list[dict[str, Any]] = []
        self.encryption: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.fails = ""

    def get(self, url: str, **more: Any) -> Any:
        path = url.removeprefix("http://cinder/v3")
        if path.endswith("/encryption"):
            return answer(self.encryption.get(path.split("/")[2], {}))
        assert more["params"] == {"is_public": "None"}
        if path == "/group_types":
            assert more["headers"]["OpenStack-API-Version"] == "volume 3.11"
            return answer({"group_types": self.groups})
        return answer({"volume_types": list(self.types.values())})

    def post(self, url: str, json: dict[str, Any], **more: Any) -> Any:
        path = url.removeprefix("http://cinder/v3")
        self.asked.append(path)
        if path.endswith(self.fails or "nothing"):
            raise KeyboardInterrupt
        if path.endswith("/encryption"):
            self.encryption[path.split("/")[2]] = json["encryption"]
            return answer(json)
        if path == "/group_types":
            self.groups.append(json["group_type"])
            return answer(json)
        given = json["volume_type"]
        public = given.pop("os-volume-type-access:is_public")
        made = {"id": f"id-{given['name']}", "is_public": public, **given}
        self.types[made["name"]] = made
        return answer({"volume_type": made})

    def put(self, url: str, json: dict[str, Any]) -> Any:
        name = url.rpartition("/id-")[2]
        self.asked.append(f"offer {name}")
        self.types[name] |= json["volume_type"]


def answer(body: dict[str, Any]) -> Any:
    return SimpleNamespace(json=lambda: body)


@pytest.fixture
def cinder(monkeypatch: pytest.MonkeyPatch) -> Cinder:
    made = Cinder()
    storage = BlockStorage(cast(Session, made), "http://cinder/v3")
    monkeypatch.setattr(types, "block_storage_of", lambda ctx: storage)
    return made


def apply(ctx: Context, *wanted: types.VolumeType) -> list[str]:
    changes = list(types.ensure_types(ctx, wanted))
    for change in changes:
        change.do()
    return [change.what for change in changes]


def test_a_type_for_several_servers_is_made_once(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path)
    assert len(list(types.ensure_types(ctx, (types.MULTIATTACH,)))) == 2
    assert cinder.asked == [], "a dry run makes nothing"
    said = ["make the volume type multiattach", "make the type of volume groups default"]
    assert apply(ctx, types.MULTIATTACH) == said
    made = cinder.types["multiattach"]
    # the very text that cinder looks for
    assert made["extra_specs"] == {"multiattach": "<is> True"}
    assert made["is_public"] is True
    assert cinder.groups[0]["is_public"] is True
    made["extra_specs"] = {"by": "hand"}
    assert apply(ctx, types.MULTIATTACH) == []


@pytest.mark.parametrize("fails", ["/encryption", ""])
def test_nobody_has_the_encrypted_type_before_it_encrypts(
    tmp_path: Path, cinder: Cinder, fails: str
) -> None:
    """Cut short, a volume of it would be plain, and is told to be encrypted for ever."""
    ctx, cinder.fails = context(tmp_path), fails
    if fails:
        with pytest.raises(KeyboardInterrupt):
            apply(ctx, types.LUKS)
        assert cinder.types["luks"]["is_public"] is False and not cinder.encryption
        cinder.fails = ""
    assert apply(ctx, types.LUKS)[0] == "make the volume type luks"
    assert cinder.types["luks"]["is_public"] is True
    assert cinder.encryption["id-luks"]["provider"] == "luks"
    assert cinder.asked.index("/types/id-luks/encryption") < cinder.asked.index("offer luks")
    assert apply(ctx, types.LUKS) == []
    # An operator who takes it from everybody has it so.
    cinder.types["luks"] |= {"is_public": False, "description": "ours"}
    assert apply(ctx, types.LUKS) == []
