"""Heat's own domain in keystone: where the users are that stacks make for their guests."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi import keystone
from onestack.cloudapi.keystone import Grant, User, ensure_user, keystone_of
from onestack.model.change import Change
from onestack.model.context import Context

DESCRIPTION = "Users that stacks make"


def ensure_domain(ctx: Context) -> Iterator[Change]:
    """The domain, its administrator, and that one's right to administer it."""
    known, domain = keystone_of(ctx), str(ctx.answers["CONFIG_HEAT_DOMAIN"])
    yield from keystone.ensure_domain(known, domain, DESCRIPTION)
    administrator = User(
        str(ctx.answers["CONFIG_HEAT_DOMAIN_ADMIN"]),
        ctx.secrets["CONFIG_HEAT_DOMAIN_PASSWORD"],
        (Grant("admin", domain=domain),),
        domain=domain,
        description="Administrator of the domain, for heat",
    )
    yield from ensure_user(known, administrator)


def remove_domain(ctx: Context) -> Iterator[Change]:
    """The domain that `ensure_domain` made, with all users and projects of stacks."""
    name = str(ctx.answers["CONFIG_HEAT_DOMAIN"])
    users = "the users that stacks made"
    yield from keystone.remove_domain(keystone_of(ctx), name, DESCRIPTION, users)
