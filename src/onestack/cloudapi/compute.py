"""The compute service's API, as far as it is needed here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystoneauth1.exceptions import BadRequest, Conflict, Forbidden, HttpError, NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session
from onestack.model.declarations import Flavor
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
_GONE_SECONDS = 180.0
_SERVICES = {"OpenStack-API-Version": "compute 2.53"}
_OVER = frozenset(
    {
        *("completed", "done", "error", "failed", "cancelled"),
        # of one that was off: it is elsewhere, and waits to be confirmed; it was
        *("finished", "confirmed", "reverted"),
    }
)
"""States of a migration of which nothing more comes by itself."""
_MOVING = {"OpenStack-API-Version": "compute 2.84"}
"""Who moves is not forced anywhere (2.68), keeps running (until 2.94), and says why not (2.84)."""


@dataclass(frozen=True)
class Compute:
    session: Session
    url: str

    def flavors(self) -> dict[str, str]:
        """Name to id of all there are, also of those that not everybody may use."""
        answer = self.session.get(f"{self.url}/flavors", params={"is_public": "None"})
        return {each["name"]: str(each["id"]) for each in answer.json()["flavors"]}

    def make_flavor(self, wanted: Flavor, *, identity: str = "", public: bool = True) -> None:
        """Without an ``identity`` it gets one; not ``public``, it is administrators' alone."""
        body: Item = {
            "name": wanted.name,
            "vcpus": wanted.cpus,
            "ram": wanted.memory,
            "disk": wanted.disk,
        }
        body |= {"id": identity} if identity else {}
        body |= {} if public else {"os-flavor-access:is_public": False}
        self.session.post(f"{self.url}/flavors", json={"flavor": body})

    def remove_server(self, identity: str) -> None:
        """One that is gone already is no mistake."""
        with contextlib.suppress(NotFound):
            self.session.delete(f"{self.url}/servers/{identity}")

    def delete_flavor(self, identity: str) -> None:
        """Servers that have it stay."""
        with contextlib.suppress(NotFound):
            self.session.delete(f"{self.url}/flavors/{identity}")

    def server(self, identity: str) -> Item | None:
        """The one with this ID, if it is there."""
        with contextlib.suppress(NotFound):
            found: Item = self.session.get(f"{self.url}/servers/{identity}").json()["server"]
            return found
        return None

    def servers(self, name: str, project: str) -> list[Item]:
        """ID and name of a project's servers whose name matches (a regular expression)."""
        query = {"name": name, "project_id": project, "all_tenants": "True"}
        answer = self.session.get(f"{self.url}/servers", params=query)
        return list(answer.json()["servers"])

    def everybodys(self) -> list[Item]:
        """All that nova tells of each server that there is."""
        return self._servers()

    def _servers(self, **query: str) -> list[Item]:
        found: list[Item] = []
        query["all_tenants"] = "True"
        while True:
            answer = self.session.get(f"{self.url}/servers/detail", params=query).json()
            found += answer["servers"]
            # Nova gives a thousand at a time.
            if not answer["servers"] or not answer.get("servers_links"):
                return found
            query["marker"] = answer["servers"][-1]["id"]

    def has_servers(self, image: str) -> bool:
        """Whether there is a server of anybody's that was made from the image with this id."""
        query = {"image": image, "all_tenants": "True", "limit": "1"}
        answer = self.session.get(f"{self.url}/servers", params=query)
        return bool(answer.json()["servers"])

    def service(self, host: str) -> Item | None:
        """What nova has of the host's compute service. Its id is good everywhere since 2.53."""
        answer = self.session.get(
            f"{self.url}/os-services",
            params={"binary": "nova-compute", "host": host},
            headers=_SERVICES,
        )
        return next(iter(answer.json()["services"]), None)

    def change_service(self, identity: str, **what: object) -> None:
        """``status``, ``disabled_reason``, ``forced_down``, as nova has them."""
        url = f"{self.url}/os-services/{identity}"
        self.session.put(url, json=what, headers=_SERVICES)

    def on_host(self, host: str) -> list[Item]:
        """All that nova tells of each server there."""
        return self._servers(host=host)

    def migrate_live(self, server: str) -> str:
        """Where it is to go the scheduler finds. Nova's words where it will not."""
        body = {"host": None, "block_migration": "auto"}
        return self._act(server, {"os-migrateLive": body})

    def migrate_cold(self, server: str) -> str:
        """As it is: off. It waits to be confirmed then. Nova's words where it will not."""
        return self._act(server, {"migrate": None})

    def confirm(self, server: str) -> str:
        """Of a server that was migrated so: its old host forgets it. Nova's words likewise."""
        return self._act(server, {"confirmResize": None})

    def evacuate(self, server: str) -> str:
        """Made anew elsewhere, as it was: running or not. Nova's words where it will not."""
        return self._act(server, {"evacuate": {}})

    def _act(self, server: str, body: Item) -> str:
        url = f"{self.url}/servers/{server}/action"
        try:
            self.session.post(url, json=body, headers=_MOVING)
        except (BadRequest, Conflict, Forbidden, NotFound) as refusal:
            return _words(refusal)
        return ""

    def progress(self, server: str) -> Item | None:
        """Of the move that is under way: bytes in all, and what is left of them."""
        answer = self.session.get(f"{self.url}/servers/{server}/migrations", headers=_MOVING)
        return next(iter(answer.json()["migrations"]), None)

    def moves(self, server: str) -> bool:
        """Whether nova is still at moving it, or at making it anew.

        Its task says less: nova ends that of a server that is made anew before it says where the
        server is.
        """
        kinds = ("live-migration", "migration", "evacuation")
        found = [m for m in self.migrations(server) if m["migration_type"] in kinds]
        return bool(found) and found[0]["status"] not in _OVER

    def migrations(self, server: str) -> list[Item]:
        """All that there were, resizes among them; the newest is the first (2.59)."""
        answer = self.session.get(
            f"{self.url}/os-migrations", params={"instance_uuid": server}, headers=_MOVING
        )
        return list(answer.json()["migrations"])

    def waiting(self, host: str) -> list[str]:
        """Servers (ids) that have gone from there and may come back; of some that is over."""
        answer = self.session.get(
            f"{self.url}/os-migrations",
            params={"source_compute": host, "status": "finished"},
            headers=_MOVING,
        )
        return sorted({one["instance_uuid"] for one in answer.json()["migrations"]})

    def why_failed(self, server: str, action: str) -> str:
        """What nova says of the last ``action`` (``live-migration``, ``migrate``) of a server."""
        url = f"{self.url}/servers/{server}/os-instance-actions"
        for one in self.session.get(url, headers=_MOVING).json()["instanceActions"]:
            if one["action"] == action:
                told = self.session.get(f"{url}/{one['request_id']}", headers=_MOVING).json()
                events = told["instanceAction"].get("events") or []
                said = [e.get("details") or "" for e in events if e.get("result") == "Error"]
                return next((text for text in said if text), one.get("message") or "")
        return ""

    def delete_service(self, identity: str) -> str:
        """With its host's mapping, and what placement has of it. Nova's words where it will not."""
        url = f"{self.url}/os-services/{identity}"
        try:
            self.session.delete(url, headers=_SERVICES)
        except NotFound:
            pass
        except Conflict as refusal:
            return _words(refusal)
        return ""

    def server_groups(self, project: str = "") -> list[Item]:
        """A project's, or all. Nova says whose one is since its version 2.13."""
        answer = self.session.get(
            f"{self.url}/os-server-groups",
            params={"all_projects": "True"},
            headers={"OpenStack-API-Version": "compute 2.13"},
        )
        found: list[Item] = answer.json()["server_groups"]
        return [each for each in found if project in ("", each["project_id"])]

    def delete_server_group(self, identity: str) -> None:
        """Its servers stay."""
        with contextlib.suppress(NotFound):
            self.session.delete(f"{self.url}/os-server-groups/{identity}")


def _words(refusal: HttpError) -> str:
    """Nova's own, below a name of the kind of refusal: keystoneauth does not look there."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if refusal.response is not None:
            (told,) = refusal.response.json().values()
            return str(told["message"])
    return refusal.message or str(refusal)


def compute_of(ctx: Context) -> Compute:
    return Compute(admin_session(ctx), ctx.url("compute"))


def remove_servers(compute: Compute, those: Sequence[str]) -> None:
    """All of them, and the wait for their end. Raises `OnestackError` for those that do not go."""
    for server in those:
        compute.remove_server(server)
    until = time.monotonic() + _GONE_SECONDS
    while left := [server for server in those if compute.server(server)]:
        if time.monotonic() > until:
            raise OnestackError(
                f"the servers {', '.join(left)} are not gone after {_GONE_SECONDS:.0f} s",
                "nova was told to delete them",
                "see `onestack logs nova-compute`, then run up --purge again",
            )
        time.sleep(0.5)
