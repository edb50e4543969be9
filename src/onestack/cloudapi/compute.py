"""The compute service's API, as far as it is needed here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystoneauth1.exceptions import Conflict, NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session
from onestack.model.declarations import Flavor
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
_GONE_SECONDS = 180.0
_SERVICES = {"OpenStack-API-Version": "compute 2.53"}


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
        found: list[Item] = []
        query = {"all_tenants": "True"}
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

    def compute_services(self, host: str) -> list[str]:
        """Ids of the host's, of which there is one. They are good everywhere since nova's 2.53."""
        answer = self.session.get(
            f"{self.url}/os-services",
            params={"binary": "nova-compute", "host": host},
            headers=_SERVICES,
        )
        return [str(each["id"]) for each in answer.json()["services"]]

    def delete_service(self, identity: str) -> str:
        """With its host's mapping, and what placement has of it. Nova's words where it will not."""
        url = f"{self.url}/os-services/{identity}"
        try:
            self.session.delete(url, headers=_SERVICES)
        except NotFound:
            pass
        except Conflict as refusal:
            return refusal.message or str(refusal)
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
