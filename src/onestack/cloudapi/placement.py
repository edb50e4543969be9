"""Placement's API, as far as it is needed here."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystoneauth1.exceptions import NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
VERSION = {"OpenStack-API-Version": "placement 1.28"}
"""From here on an allocation is only changed by who knows its last change."""


@dataclass(frozen=True)
class Placement:
    session: Session
    url: str

    def provider(self, name: str) -> Item | None:
        """What has resources under that name; a compute host's is called as it is."""
        found = self._get("/resource_providers", name=name)["resource_providers"]
        return found[0] if found else None

    def remove(self, provider: Item) -> None:
        """With all below it, and what is still taken of them."""
        tree = self._get("/resource_providers", in_tree=provider["uuid"])["resource_providers"]
        for each in tree:
            self._free(each["uuid"])
        while tree:
            inner = {each["parent_provider_uuid"] for each in tree}
            for leaf in [each for each in tree if each["uuid"] not in inner]:
                self._delete(f"/resource_providers/{leaf['uuid']}")
                tree.remove(leaf)

    def _free(self, provider: str) -> None:
        """Nobody has anything of this one any more; what they have of others stays."""
        for consumer in self._get(f"/resource_providers/{provider}/allocations")["allocations"]:
            held = self._get(f"/allocations/{consumer}")
            rest = {
                other: {"resources": taken["resources"]}
                for other, taken in held["allocations"].items()
                if other != provider
            }
            if rest:
                kept = ("project_id", "user_id", "consumer_generation")
                body = {"allocations": rest, **{name: held[name] for name in kept}}
                url = f"{self.url}/allocations/{consumer}"
                self.session.put(url, json=body, headers=VERSION)
            else:
                self._delete(f"/allocations/{consumer}")

    def _get(self, path: str, **query: str) -> Item:
        answer = self.session.get(f"{self.url}{path}", params=query, headers=VERSION)
        found: Item = answer.json()
        return found

    def _delete(self, path: str) -> None:
        """One that is gone already is no mistake."""
        with contextlib.suppress(NotFound):
            self.session.delete(f"{self.url}{path}", headers=VERSION)


def placement_of(ctx: Context) -> Placement:
    return Placement(admin_session(ctx), ctx.url("placement"))
