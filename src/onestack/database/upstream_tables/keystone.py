"""Keystone's tables, as of 30.0.0: asked before its API serves, or where that has a cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "keystone"


class UserRow(NamedTuple):
    """``email`` is empty where none is known."""

    id: str
    email: str


def local_user(server: Server, name: str) -> UserRow | None:
    """The user ``name`` of the default domain, if keystone itself keeps it."""
    rows = server.query(
        "SELECT user.id, user.extra FROM user JOIN local_user ON local_user.user_id = user.id"
        " WHERE local_user.name = %s AND local_user.domain_id = 'default'",
        (name,),
        DATABASE,
    )
    return UserRow(str(rows[0][0]), _email(rows[0][1])) if rows else None


def _email(extra: str | None) -> str:
    return str(json.loads(extra or "{}").get("email", ""))


def identity_endpoints(server: Server) -> int:
    """How many the catalog has of keystone's own."""
    return server.number(
        "SELECT COUNT(*) FROM endpoint JOIN service ON service.id = endpoint.service_id"
        " WHERE service.type = 'identity'",
        (),
        DATABASE,
    )


def has_domain(server: Server, name: str) -> bool:
    """A domain is a project of its own kind."""
    sql = "SELECT COUNT(*) FROM project WHERE is_domain AND name = %s"
    return bool(server.number(sql, (name,), DATABASE))
