"""How an instance or a backup is settled that stays in a state that it should pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.passing import Passing


def cure(thing: Passing) -> str:
    settle = "onestack restart trove, which ends or undoes what was interrupted; else "
    reset = "openstack database instance reset status"
    if thing.kind == "database instance":
        return f"{settle}{reset} {thing.identity}"
    return (
        f"{settle}{reset} INSTANCE, which fails its running backups: "
        f"openstack database backup show {thing.identity} names it"
    )
