"""Hosts that have joined, as declarations of their controller see them."""

from __future__ import annotations

from pathlib import Path

from onestack.cluster.accounts import account
from onestack.cluster.membership import Membership
from onestack.cluster.settings import ACCOUNTS
from onestack.model.host import Member, Role


def members(folder: Path, secret: str) -> tuple[Member, ...]:
    """``secret`` is what their passwords are made of. Raises `OnestackError`."""
    found = []
    for one in Membership(folder).document().members:
        accounts = {s: account(secret, one.name, one.identity, s) for s in ACCOUNTS}
        roles = frozenset(Role(role) for role in one.roles)
        found.append(Member(one.name, one.identity, roles, accounts, one.admitted, one.number))
    return tuple(found)
