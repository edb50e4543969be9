"""The block storage service's API, as far as it is needed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
_GROUPS = {"OpenStack-API-Version": "volume 3.11"}
"""Since then there are types of groups."""


@dataclass(frozen=True)
class BlockStorage:
    session: Session
    url: str

    def types(self) -> dict[str, Item]:
        """Of volumes, by name; also those that not everybody may use."""
        answer = self.session.get(f"{self.url}/types", params={"is_public": "None"})
        return {each["name"]: each for each in answer.json()["volume_types"]}

    def make_type(
        self, name: str, description: str, specs: Mapping[str, str], *, public: bool
    ) -> str:
        """Its id."""
        body = {
            "name": name,
            "description": description,
            "extra_specs": dict(specs),
            "os-volume-type-access:is_public": public,
        }
        answer = self.session.post(f"{self.url}/types", json={"volume_type": body})
        return str(answer.json()["volume_type"]["id"])

    def offer_type(self, identity: str) -> None:
        """From now on everybody may use it."""
        body = {"volume_type": {"is_public": True}}
        self.session.put(f"{self.url}/types/{identity}", json=body)

    def encryption(self, identity: str) -> Item:
        """How volumes of a type are encrypted; empty where they are not."""
        found: Item = self.session.get(f"{self.url}/types/{identity}/encryption").json()
        return found

    def encrypt(self, identity: str, how: Mapping[str, Any]) -> None:
        """Volumes of a type, which none has yet."""
        body = {"encryption": dict(how)}
        self.session.post(f"{self.url}/types/{identity}/encryption", json=body)

    def group_types(self) -> dict[str, Item]:
        """By name; also those that not everybody may use."""
        params = {"is_public": "None"}
        answer = self.session.get(f"{self.url}/group_types", params=params, headers=_GROUPS)
        return {each["name"]: each for each in answer.json()["group_types"]}

    def make_group_type(self, name: str, description: str) -> None:
        body = {"group_type": {"name": name, "description": description, "is_public": True}}
        self.session.post(f"{self.url}/group_types", json=body, headers=_GROUPS)


def block_storage_of(ctx: Context) -> BlockStorage:
    return BlockStorage(admin_session(ctx), ctx.url("block-storage"))
