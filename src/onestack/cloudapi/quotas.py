"""Quotas of the project in which services keep what they make for their users.

A user's own quota counts in the user's project and in the service; one of the project
``service`` would count all users' together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from onestack.cloudapi.identity import SERVICE_PROJECT, service_project
from onestack.cloudapi.session import admin_session
from onestack.model.change import Change

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


def ensure_unlimited(ctx: Context) -> Iterator[Change]:
    """No limit for the services' project, of nova's, cinder's or neutron's. Raises `NotYet`."""
    project = service_project(ctx)
    session = admin_session(ctx)
    for service, (path, key) in _PLACES.items():
        if not ctx.offers(service):
            continue
        url = f"{ctx.url(service)}/{path.format(project=project)}"
        limits = limited(session.get(url).json()[key])
        if limits:
            body = {key: dict.fromkeys(limits, UNLIMITED)}

            def lift(url: str = url, body: Body = body) -> None:
                session.put(url, json=body)

            yield Change(f"lift the quotas of the project {SERVICE_PROJECT} ({service})", lift)


def limited(quota: Mapping[str, Any]) -> list[str]:
    """The resources that have a limit; what the answer says besides is no number."""
    return sorted(
        name
        for name, value in quota.items()
        if isinstance(value, int) and not isinstance(value, bool) and value != UNLIMITED
    )
