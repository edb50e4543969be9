"""Backups of volumes, when the object store that they are in goes for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onestack.model.change import Change
from onestack.model.context import Context
from onestack.supervise.client import Client


def forget(ctx: Context, config: Path) -> Iterator[Change]:
    """No backup whose data is gone, no service that could neither restore nor delete it."""
    # Imported late: answers and checks run where only the standard library is.
    from onestack.components.mariadb.sql import connect

    counts = []
    with connect(ctx.cloud, "cinder") as database, database.cursor() as cursor:
        for rest in ("backups WHERE", "services WHERE `binary` = 'cinder-backup' AND"):
            cursor.execute(f"SELECT COUNT(*) FROM {rest} deleted = 0")
            counts += [row[0] for row in cursor.fetchall()]
    if any(counts):
        yield Change(
            f"forget {counts[0]} backups of volumes, which were in the object store, and their "
            "service",
            lambda: Client(ctx.cloud).job(
                run="onestack.components.cinder.inside.jobs:forget_backups",
                user=ctx.cloud.user("cinder"),
                arguments={"config": str(config)},
                log="cinder-forget-backups",
            ),
        )
