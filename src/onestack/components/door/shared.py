"""What a host of a role is told of the cloud: answers and secrets that its own files are made of.

Answers of secrets never go, whatever they are for; of secrets those go that say so themselves
(`Secret.roles`). Where a host could have an account of its own, it has that instead.
"""

from __future__ import annotations

from onestack.answers import facter
from onestack.cluster.settings import Shared
from onestack.components.hosts import HERE
from onestack.model.context import Context
from onestack.model.host import Role
from onestack.model.key import Kind


def shared(ctx: Context, role: Role) -> Shared:
    return Shared(answers(ctx), secrets(ctx, role))


def answers(ctx: Context) -> dict[str, str]:
    """Those that were given, and are no secrets; facts in them are the controller's."""
    known = ctx.answers
    return {
        name: facter.expand(text)
        for name, text in sorted(known.given.items())
        if known.key(name).kind is not Kind.SECRET and name not in HERE
    }


def secrets(ctx: Context, role: Role) -> dict[str, str]:
    """The role's."""
    declared = {s.name: s for component in ctx.components for s in component.secrets}
    return {
        name: ctx.secrets[name] for name, secret in sorted(declared.items()) if role in secret.roles
    }
