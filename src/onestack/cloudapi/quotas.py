"""Quotas of the project in which services keep what they make for their users.

A user's own quota counts in the user's project and in the service; one of the project
``service`` would count all users' together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from onestack.cloudapi.identity import SERVICE_PROJECT
from onestack.cloudapi.keystone import keystone_of
from onestack.cloudapi.session import admin_session
from onestack.model.change import Change
from onestack.model.errors import NotYet

if TYPE_CHECKING:
    from onestack.model.context import Context

Body = dict[str, dict[str, int]]

UNLIMITED = -1
_PLACES = {
    "compute": ("os-quota-sets/{project}", "quota_set"),
    "block-storage": ("os-quota-sets/{project}", "quota_set"),
    "network": ("v2.0/quotas/{project}", "quota"),
}
"""Path and key of a project's quotas, by the service that keeps them."""


def ensure_unlimited(ctx: Context, project: str = SERVICE_PROJECT) -> Iterator[Change]:
    """No limit for the ``project``, of nova's, cinder's or neutron's. Raises `NotYet`."""
    found = keystone_of(ctx).projects.get(project)
    if not found:
        raise NotYet(f"there is no project {project}", cure="run the same command again")
    session = admin_session(ctx)
    for service, (path, key) in _PLACES.items():
        if not ctx.offers(service):
            continue
        url = f"{ctx.url(service)}/{path.format(project=found['id'])}"
        limits = limited(session.get(url).json()[key])
        if limits:
            body = {key: dict.fromkeys(limits, UNLIMITED)}

            def lift(url: str = url, body: Body = body) -> None:
                session.put(url, json=body)

            yield Change(f"lift the quotas of the project {project} ({service})", lift)


def limited(quota: Mapping[str, Any]) -> list[str]:
    """The resources that have a limit; what the answer says besides is no number."""
    return sorted(
        name
        for name, value in quota.items()
        if isinstance(value, int) and not isinstance(value, bool) and value != UNLIMITED
    )
