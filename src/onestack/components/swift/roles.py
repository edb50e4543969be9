"""Roles that swift's own rules name, in keystone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from onestack.cloudapi.identity import directory
from onestack.host.change import Change

if TYPE_CHECKING:
    from onestack.components.base import Context


def ensure_roles(ctx: Context, names: Iterable[str]) -> Iterator[Change]:
    known = directory(ctx)
    for name in names:
        if name not in known.roles:

            def make(name: str = name) -> None:
                known.roles[name] = known.create("roles", {"name": name})

            yield Change(f"make the role {name}", make)
