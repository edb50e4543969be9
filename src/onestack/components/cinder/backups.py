"""Backups of volumes, when the object store that they are in goes for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onestack.database.upstream_tables import cinder as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Job


def forget(ctx: Context, config: Path) -> Iterator[Change]:
    """No backup whose data is gone, no service that could neither restore nor delete it."""
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of

    server = server_of(ctx)
    there = tables.backups(server)
    if there or tables.backup_services(server):
        run = "onestack.components.cinder.inside.jobs:forget_backups"
        job = Job("cinder-forget-backups", "cinder", run, {"config": str(config)})
        yield Change(
            f"forget {there} backups of volumes, which were in the object store, and their service",
            lambda: ctx.run_job(job),
        )
