"""The administrator's account and password, for those who want one beside unix user root."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.database.server import server_of
from onestack.model.change import Change
from onestack.model.context import Context


def ensure_administrator(ctx: Context) -> Iterator[Change]:
    """CONFIG_MARIADB_USER may do everything with its password; unix user root always may."""
    user = str(ctx.answers["CONFIG_MARIADB_USER"])
    given = ctx.answers["CONFIG_MARIADB_PW"] or ctx.answers["CONFIG_DEFAULT_PASSWORD"]
    server = server_of(ctx)
    account = server.account(user)
    if user == "root" and not given:
        if account.has_password:
            yield Change(
                "take root's password at the database server away: none is given any more",
                server.take_roots_password,
            )
        return
    password = ctx.secrets["mariadb"]
    if not account.may_do_everything(password):
        yield Change(
            f"give the database server's administrator {user} a password",
            lambda: server.make_administrator(user, password),
        )
