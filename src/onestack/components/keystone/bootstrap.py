"""Keystone's first contents: what must be there before its API can serve anybody."""

from __future__ import annotations

import time
from collections.abc import Iterator

from keystoneauth1.session import Session

from onestack.cloudapi.session import NotLetIn, admin_session
from onestack.database.server import server_of
from onestack.database.upstream_tables import keystone as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Job


def ensure_bootstrap(ctx: Context) -> Iterator[Change]:
    """The default domain, the administrator, the roles and the identity endpoints."""
    server, name = server_of(ctx), str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"])
    # the endpoints are the last thing a bootstrap makes
    if not tables.local_user(server, name) or tables.identity_endpoints(server) < 3:
        yield Change("bootstrap keystone", lambda: bootstrap(ctx))


def ensure_password(ctx: Context) -> Iterator[Change]:
    """The administrator's password is the one of the answers."""
    try:
        admin_session(ctx).get_token()
    except NotLetIn:
        yield Change("set the administrator's password", lambda: _set_password(ctx))


def _set_password(ctx: Context) -> None:
    bootstrap(ctx)
    # It revoked the user's tokens up to now, and a token's time is in whole seconds: one
    # that is issued in what is left of this second would count among them.
    time.sleep(1 - time.time() % 1)


def ensure_domain(ctx: Context, name: str) -> Iterator[Change]:
    """The domain ``name``, made before keystone's API serves."""
    if not tables.has_domain(server_of(ctx), name):
        yield Change(f"make the domain {name}", lambda: _make_domain(ctx, name))


def _make_domain(ctx: Context, name: str) -> None:
    config = str(ctx.cloud.etc / "keystone" / "keystone.conf")
    run = "onestack.components.keystone.inside.jobs:domain"
    ctx.run_job(Job("keystone-domain", "keystone", run, {"config": config, "name": name}))


def ensure_email(ctx: Context) -> Iterator[Change]:
    """The administrator's e-mail address is the one of the answers.

    The database is asked, since keystone's answer may come from its cache: a user that
    is read while it is written stays there as it was, for minutes.
    """
    name = str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"])
    user = tables.local_user(server_of(ctx), name)
    wanted = str(ctx.answers["CONFIG_KEYSTONE_ADMIN_EMAIL"])
    if user and user.email != wanted:
        url = f"{ctx.url('identity')}/users/{user.id}"
        yield Change(
            f"give the administrator the e-mail address {wanted or '(none)'}",
            lambda: _set_email(admin_session(ctx), url, wanted),
        )


def _set_email(session: Session, url: str, address: str) -> None:
    session.patch(url, json={"user": {"email": address}})


def bootstrap(ctx: Context) -> None:
    """Run upstream's own bootstrap, which may be repeated."""
    etc = ctx.cloud.etc / "keystone"
    arguments = {
        "config": str(etc / "keystone.conf"),
        "secret": str(etc / "admin.json"),
        "region": str(ctx.answers["CONFIG_KEYSTONE_REGION"]),
        "public": ctx.public_url("identity"),
        "internal": ctx.url("identity"),
    }
    run = "onestack.components.keystone.inside.jobs:bootstrap"
    ctx.run_job(Job("keystone-bootstrap", "keystone", run, arguments))
