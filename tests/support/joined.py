"""A controller and its hosts, as contexts: what each would be told and made of."""

from __future__ import annotations

import dataclasses

from onestack.answers.handed import HandedSecrets
from onestack.answers.registry import registry
from onestack.cluster.accounts import account
from onestack.cluster.settings import ACCOUNTS
from onestack.components import ALL, hosts
from onestack.components.door import shared
from onestack.model.account import Account
from onestack.model.context import Context
from onestack.model.host import EVERY_ROLE, Host, Joined, Member, Role


def member(ctx: Context, name: str, identity: str, role: Role = Role.COMPUTE) -> Member:
    """A host with that role, as its controller has it."""
    own = {s: account(ctx.secrets["hosts"], name, identity, s) for s in ACCOUNTS}
    accounts = {s: Account(a.user, a.password) for s, a in own.items()}
    return Member(name, identity, frozenset({role}), accounts)


def elsewhere(ctx: Context, of: Member, address: str = "192.0.2.7") -> Context:
    """The context on that host, of what the controller with ``ctx`` hands over."""
    (role,) = of.roles
    told = shared.shared(ctx, role)
    answers = registry().answers(told.answers)
    host = Host.of_others(ctx.cloud, ctx.facts, of.name, address, of.roles)
    other = Host.of_others(ctx.cloud, ctx.facts, ctx.host.name, ctx.public, EVERY_ROLE - of.roles)
    return dataclasses.replace(
        ctx,
        answers=answers,
        secrets=HandedSecrets(told.secrets, registry().secrets),
        host=host,
        others=(other,),
        components=tuple(c for c in ALL if c.enabled(answers)),
        switched_off=tuple(c for c in ALL if not c.enabled(answers)),
        joined=Joined(ctx.public, of.identity, of.accounts, purposes=hosts.wanted(ctx)),
        members=(),
    )
