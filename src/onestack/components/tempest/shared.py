"""What Tempest's tests make that is of no project: users and the like, flavors, aggregates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session

from onestack.cloudapi import emptying
from onestack.cloudapi.emptying.kinds import pages
from onestack.cloudapi.keystone import KeystoneApi
from onestack.cloudapi.session import admin_session
from onestack.components.tempest.names import describes, is_tempests
from onestack.model.context import Context
from onestack.model.errors import OnestackError

Item = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """``path`` lists it, below its service's URL; ``named`` are properties that may have the name.

    ``identity`` is the property that its own path ends with. ``paged``: a service gives so many
    at once; others refuse to be asked for a page.
    """

    what: str
    service: str
    path: str
    listed: str
    named: tuple[str, ...] = ("name",)
    identity: str = "id"
    paged: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


_ALL = {"is_public": "None"}
_GROUPS = "volume 3.11"
"""Since then there are types of groups."""
KINDS = (
    Kind("user", "identity", "/users", "users"),
    Kind("group", "identity", "/groups", "groups"),
    Kind("role", "identity", "/roles", "roles"),
    Kind("domain", "identity", "/domains", "domains"),
    Kind("endpoint group", "identity", "/OS-EP-FILTER/endpoint_groups", "endpoint_groups"),
    Kind("service", "identity", "/services", "services"),
    Kind("region", "identity", "/regions", "regions", ("id", "description")),
    Kind("policy", "identity", "/policies", "policies", ("type",)),
    Kind("consumer", "identity", "/OS-OAUTH1/consumers", "consumers", ("description",)),
    Kind("aggregate", "compute", "/os-aggregates", "aggregates"),
    Kind("flavor", "compute", "/flavors", "flavors", paged=True, query=_ALL),
    Kind("volume type", "block-storage", "/types", "volume_types", paged=True, query=_ALL),
    Kind(
        *("group type", "block-storage", "/group_types", "group_types"),
        paged=True,
        query=_ALL,
        version=_GROUPS,
    ),
    Kind("qos spec", "block-storage", "/qos-specs", "qos_specs", paged=True),
    Kind(
        *("namespace of metadata", "image", "/v2/metadefs/namespaces", "namespaces"),
        ("namespace",),
        "namespace",
        paged=True,
    ),
    Kind("flavor of balancers", "load-balancer", "/v2/lbaas/flavors", "flavors", paged=True),
    Kind(
        *("profile of flavors", "load-balancer", "/v2/lbaas/flavorprofiles", "flavorprofiles"),
        paged=True,
    ),
    Kind(
        "zone of balancers",
        *("load-balancer", "/v2/lbaas/availabilityzones", "availability_zones"),
        identity="name",
        paged=True,
    ),
    Kind(
        "profile of zones",
        *("load-balancer", "/v2/lbaas/availabilityzoneprofiles", "availability_zone_profiles"),
        paged=True,
    ),
)
"""In the order in which they let go of one another."""


@dataclass(frozen=True)
class Thing:
    """One with such a name."""

    what: str
    identity: str
    remove: Callable[[], object]


def things(ctx: Context) -> Iterator[Thing]:
    session = admin_session(ctx)
    for kind in KINDS:
        if not ctx.offers(kind.service):
            continue
        url = f"{ctx.url(kind.service)}{kind.path}"
        for item in _listed(session, url, kind):
            if name := next((n for each in kind.named if is_tempests(n := item.get(each))), ""):
                place = f"{url}/{item[kind.identity]}"
                yield Thing(
                    f"the {kind.what} {name}",
                    f"{kind.listed} {item[kind.identity]}",
                    lambda kind=kind, item=item, place=place: _remove(ctx, kind, item, place),  # type: ignore[misc]
                )


def _listed(session: Session, url: str, kind: Kind) -> list[Item]:
    if kind.paged:
        return pages(session, url, kind.listed, kind.query, kind.version, kind.identity)
    found: list[Item] = session.get(url, params=kind.query).json()[kind.listed]
    return found


def _remove(ctx: Context, kind: Kind, item: Item, place: str) -> None:
    session = admin_session(ctx)
    if kind.what == "user":
        emptying.remove_user(ctx, item["id"])
        return
    if kind.what == "domain":
        _remove_domain(KeystoneApi(session, ctx.url("identity")), item)
        return
    if kind.what == "aggregate":
        # With the host goes the name of its availability zone.
        for host in item["hosts"]:
            session.post(f"{place}/action", json={"remove_host": {"host": host}})
    session.delete(place, headers={"OpenStack-API-Version": kind.version} if kind.version else {})


def _remove_domain(keystone: KeystoneApi, domain: Item) -> None:
    """With its users and groups if it is Tempest's by its description, and never with projects.

    Keystone would take them all, and nobody what is in the projects.
    """
    kinds = ("projects",) if describes(domain) else ("projects", "users", "groups")
    for kind in kinds:
        if inside := keystone.find(kind, domain_id=domain["id"]):
            raise OnestackError(
                f"{len(inside)} {kind} are in it", ", ".join(i["name"] for i in inside[:5])
            )
    keystone.remove_domain(domain)


def remove(thing: Thing) -> str:
    """What is wrong, if it cannot be removed; empty where it is gone."""
    try:
        thing.remove()
    except (ClientException, OnestackError) as error:
        return "" if getattr(error, "http_status", 0) == 404 else f"{thing.what}: {error}"
    return ""
