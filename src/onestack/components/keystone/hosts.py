"""Users of hosts that have joined: each its own, with the role of services and no other."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from onestack.cloudapi.identity import SERVICE_PROJECT
from onestack.cloudapi.keystone import Grant, User, ensure_user, keystone_of
from onestack.cluster.accounts import PREFIX
from onestack.model.change import Change
from onestack.model.context import Context

ROLE = "service"
"""Neutron, placement and nova let services do by it what a compute asks of them."""


def ensure_hosts(ctx: Context) -> Iterator[Change]:
    """A user for each member, and none for a host that is none any more."""
    known, names = keystone_of(ctx), set()
    for member in ctx.members:
        own = member.accounts["identity"]
        names.add(own.user)
        wanted = User(
            own.user, own.password, (Grant(ROLE, SERVICE_PROJECT),), title="user of the host"
        )
        yield from ensure_user(known, wanted)
    for name in sorted(known.users):
        if name.startswith(PREFIX) and name not in names:
            yield Change(
                f"remove the user of the host {name.removeprefix(PREFIX)}",
                functools.partial(_remove, ctx, name),
            )


def _remove(ctx: Context, name: str) -> None:
    known = keystone_of(ctx)
    known.delete("users", known.users.pop(name))
