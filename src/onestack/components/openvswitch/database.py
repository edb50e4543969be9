"""The switch's database file."""

from __future__ import annotations

import os
from collections.abc import Iterator

from onestack.components.base import Context
from onestack.components.openvswitch.distribution import Distribution
from onestack.host.change import Change
from onestack.host.command import run


def ensure_database(ctx: Context, made: Distribution) -> Iterator[Change]:
    """An empty database, made beside its place and renamed."""
    path = ctx.cloud.data / "openvswitch" / "conf.db"
    if path.exists():
        return

    def make() -> None:
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        run([made.program("ovsdb-tool"), "create", str(new), made.schema("vswitch")], timeout=30)
        os.rename(new, path)

    yield Change("make the switch's database", make)
