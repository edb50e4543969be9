"""Octavia's own roles, through keystone's API."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi.identity import directory
from onestack.components.base import Context
from onestack.host.change import Change

ROLES = (
    "load-balancer_observer",
    "load-balancer_global_observer",
    "load-balancer_member",
    "load-balancer_quota_admin",
    "load-balancer_admin",
)


def ensure_roles(ctx: Context) -> Iterator[Change]:
    """`ROLES`; nobody is given one."""
    known = directory(ctx)
    for role in ROLES:
        if role not in known.roles:

            def make(role: str = role) -> None:
                known.roles[role] = known.create("roles", {"name": role})

            yield Change(f"make the role {role}", make)
