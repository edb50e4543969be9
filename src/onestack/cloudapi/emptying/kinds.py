"""Things of which a service has a list, and the wait for their end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from keystoneauth1.exceptions import BadRequest, NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.emptying.belonging import PAUSE, Belongs, Item, name_of, taken
from onestack.host.locks import Tell
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context


@dataclass(frozen=True)
class Kind:
    """One kind of thing: ``path`` lists it, below its service's URL, and has it below itself.

    The ``owner`` is the property that names the project; empty: the token's project is all that
    is listed. ``seconds`` is how long it may take to be gone. ``force`` is the administrators'
    own way, where the plain one is refused, or does not end.
    """

    what: str
    service: str
    path: str
    listed: str
    owner: str = "project_id"
    query: Mapping[str, str] = field(default_factory=dict)
    filter: str = "project_id"
    """What the query calls the project."""
    detail: str = ""
    seconds: float = 0.0
    tail: str = ""
    force: str = ""
    version: str = ""
    """Of the API, without which things do not name their project."""


READINGS = 10
"""Tries to read a list of which things go meanwhile."""
_EVERYBODYS = {"all_tenants": "1"}
_LONG = 300.0
KINDS = (
    Kind("stack", "orchestration", "/{project}/stacks", "stacks", "", seconds=_LONG),
    Kind(
        "load balancer",
        "load-balancer",
        "/v2/lbaas/loadbalancers",
        "loadbalancers",
        seconds=_LONG,
        tail="?cascade=true",
    ),
    Kind("database", "databases", "/{project}/instances", "instances", "", seconds=_LONG),
    Kind(
        "server",
        "compute",
        "/servers",
        "servers",
        "tenant_id",
        _EVERYBODYS,
        detail="/detail",
        seconds=_LONG,
    ),
    Kind(
        "backup",
        "block-storage",
        "/backups",
        "backups",
        "os-backup-project-attr:project_id",
        _EVERYBODYS,
        detail="/detail",
        seconds=_LONG,
        force="os-force_delete",
        version="volume 3.18",
    ),
    Kind(
        "snapshot",
        "block-storage",
        "/snapshots",
        "snapshots",
        "os-extended-snapshot-attributes:project_id",
        _EVERYBODYS,
        detail="/detail",
        seconds=_LONG,
        force="os-force_delete",
    ),
    Kind(
        "volume",
        "block-storage",
        "/volumes",
        "volumes",
        "os-vol-tenant-attr:tenant_id",
        _EVERYBODYS,
        detail="/detail",
        seconds=_LONG,
        force="os-force_delete",
    ),
    Kind("image", "image", "/v2/images", "images", "owner", filter="owner"),
)
"""In the order in which they let go of one another."""


@dataclass(frozen=True)
class Removal:
    """Of one kind, and the wait for its end."""

    ctx: Context
    session: Session
    kind: Kind
    belongs: Belongs
    tell: Tell

    def __call__(self) -> None:
        there = self._there()
        for item in there:
            self.tell(f"removing the {self.kind.what} {name_of(item)}")
        begun = [item for item in there if self._remove(item)]
        refused = [item for item in there if item not in begun]
        left = self._wait(begun)
        # What another of the kind has let go of by now.
        again = [item for item in refused if self._remove(item)]
        left += [item for item in refused if item not in again] + self._wait(again)
        if left and self.kind.force:
            forced = [item for item in left if self._forced(item)]
            left = [item for item in left if item not in forced] + self._wait(forced)
        if left:
            ids = dict.fromkeys(str(item["id"]) for item in left)
            raise OnestackError(
                f"{len(ids)} of {len(there)} are still there", ", ".join(list(ids)[:5])
            )

    @property
    def _url(self) -> str:
        path = self.kind.path.format(project=self.belongs.project)
        return self.ctx.url(self.kind.service) + path

    def _there(self) -> list[Item]:
        asked = dict(self.kind.query)
        if self.kind.owner and self.belongs.project:
            asked[self.kind.filter] = self.belongs.project
        place = self._url + self.kind.detail
        return [
            item
            for item in pages(self.session, place, self.kind.listed, asked, self.kind.version)
            if not self.kind.owner or self.belongs.fits(item, self.kind.owner)
        ]

    def _remove(self, item: Item) -> bool:
        """Whether the service takes it."""
        place = f"{self._url}/{item['id']}{self.kind.tail}"
        if self.kind.what == "stack":
            place = f"{self._url}/{quote(item['stack_name'])}/{item['id']}"
        if item.get("protected"):  # an image
            patch = [{"op": "replace", "path": "/protected", "value": False}]
            headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
            self.session.patch(place, json=patch, headers=headers, raise_exc=False)
        return taken(self.session.delete(place, raise_exc=False).status_code)

    def _forced(self, item: Item) -> bool:
        place = f"{self._url}/{item['id']}/action"
        body: Item = {self.kind.force: {}}
        return taken(self.session.post(place, json=body, raise_exc=False).status_code)

    def _wait(self, those: Sequence[Item]) -> list[Item]:
        """Those that are not gone in time, or never will be."""
        ids = {item["id"] for item in those}
        until = time.monotonic() + self.kind.seconds
        while ids:
            left = [item for item in self._there() if item["id"] in ids]
            if all(_stuck(item) for item in left) or time.monotonic() > until:
                return left
            time.sleep(PAUSE)
        return []


def _stuck(item: Item) -> bool:
    return (item.get("status") or item.get("stack_status")) in ("error_deleting", "DELETE_FAILED")


def pages(
    session: Session,
    url: str,
    listed: str,
    asked: Mapping[str, str],
    version: str = "",
    identity: str = "id",
) -> list[Item]:
    """All of a listing, of which a service gives so many at once.

    Each page begins after a thing of the one before. When that has gone meanwhile, the service
    knows no such place: all is asked for anew. What is returned was told in one go.
    """
    for _ in range(READINGS):
        with contextlib.suppress(_MarkerGone):
            return _read(session, url, listed, asked, version, identity)
    raise OnestackError(f"{listed} go faster than their list can be read")


class _MarkerGone(Exception):
    pass


def _read(
    session: Session, url: str, listed: str, asked: Mapping[str, str], version: str, identity: str
) -> list[Item]:
    headers = {"OpenStack-API-Version": version} if version else {}
    query, found = dict(asked), dict[str, Item]()
    while True:
        try:
            page: list[Item] = session.get(url, params=query, headers=headers).json()[listed]
        except (NotFound, BadRequest) as error:
            # Cinder's word for it, and the others'.
            if "marker" in query:
                raise _MarkerGone from error
            raise
        fresh = [item for item in page if item[identity] not in found]
        # One that does not know of markers answers with what was seen.
        if not fresh:
            return list(found.values())
        found |= {item[identity]: item for item in fresh}
        query["marker"] = page[-1][identity]
