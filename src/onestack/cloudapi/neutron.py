"""Neutron's API, as far as it is needed here; what is there is read when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
GIVEN = (
    *("security-groups", "fwaas/firewall_groups"),
    *("fwaas/firewall_policies", "fwaas/firewall_rules"),
)
"""Of these neutron makes a default for whichever project's are asked for, before it tells."""


@dataclass(frozen=True)
class NeutronApi:
    """Kinds are in the singular, as neutron writes them in its URLs: ``security-group``."""

    session: Session
    url: str

    def all(self, kind: str, **query: str | Sequence[str]) -> list[Item]:
        asked = dict(query)
        project = asked.pop("project_id", None) if f"{kind}s" in GIVEN else None
        answer = self.session.get(f"{self.url}/{kind}s", params=asked).json()
        items: list[Item] = answer[f"{kind}s".replace("-", "_")]
        return [item for item in items if project in (None, item.get("project_id"))]

    def find(self, kind: str, **query: str) -> Item | None:
        items = self.all(kind, **query)
        return items[0] if items else None

    def needed(self, kind: str, name: str, **query: str) -> Item:
        """What a change before made."""
        found = self.find(kind, name=name, **query)
        assert found, f"{kind} {name} was made a moment ago"
        return found

    def make(self, kind: str, **body: Any) -> None:
        self._say("POST", f"{kind}s", {kind.replace("-", "_"): body})

    def put(self, path: str, body: Item) -> None:
        self._say("PUT", path, body)

    def delete(self, kind: str, identity: str) -> None:
        """One that is gone already is no mistake."""
        self._say("DELETE", f"{kind}s/{identity}")

    def _say(self, method: str, path: str, body: Item | None = None) -> None:
        """Raises `OnestackError` with neutron's own words, which keystoneauth does not read."""
        answer = self.session.request(f"{self.url}/{path}", method, json=body, raise_exc=False)
        gone = method == "DELETE" and answer.status_code == 404
        if answer.status_code >= 400 and not gone:
            raise OnestackError(
                f"neutron refuses {method} {path} ({answer.status_code})",
                answer.text[:500],
                "see `onestack logs neutron-api`, then run up again",
            )


def neutron_of(ctx: Context) -> NeutronApi:
    return NeutronApi(admin_session(ctx), f"{ctx.url('network')}/v2.0")
