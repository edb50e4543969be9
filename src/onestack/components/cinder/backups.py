"""Backups of volumes: in the object store where there is one, else in files of this machine.

Cinder writes them in chunks either way, so that a further one may have only what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import Directory, Job, TempestResources
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.process import Process

WANTED = "CONFIG_ONESTACK_CINDER_BACKUP"
KEY = Key(
    WANTED,
    "n",
    "Backups of volumes also without an object store (CONFIG_SWIFT_INSTALL, where they are by "
    "themselves): in files below ROOT/data/cinder/backups, which outlive the volume and not the "
    "disk. It is one process more.",
    Kind.FLAG,
)
_CHUNK = 16 << 20
"""So much of a volume is in memory at a time, as it is and compressed; bytes."""
_TOGETHER = 2

Made = Callable[[Context, tuple[str, ...]], Process]
"""The process for backups, which needs these."""


def wanted(ctx: Context) -> bool:
    asked = bool(ctx.answers[WANTED]) or ctx.offers("object-store")
    return asked and ctx.offers("block-storage")


class _Backups(Feature):
    """``configuration`` is cinder's file."""

    kind = ""
    """As Tempest calls it."""
    driver = ""
    """The module and class. Each backup says by which it was made, and no other reads it."""
    where = ""
    needs: tuple[str, ...] = ()

    def __init__(self, configuration: Callable[[Context], Path], process: Made) -> None:
        self._configuration = configuration
        self._process = process

    def settings(self, ctx: Context) -> dict[str, Value]:
        raise NotImplementedError

    def options(self, ctx: Context) -> dict[Path, Ini]:
        own: dict[str, Value] = {
            "backup_driver": self.driver,
            "backup_max_operations": _TOGETHER,
        }
        return {self._configuration(ctx): {"DEFAULT": {**own, **self.settings(ctx)}}}

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield self._process(ctx, self.needs)

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "volume": {"backup_driver": self.kind},
            "volume-feature-enabled": {"backup": True},
        }

    def purge(self, ctx: Context) -> Iterator[Change]:
        yield from forget(ctx, self._configuration(ctx), self.driver, self.where)


class InObjects(_Backups):
    """In the account of whoever asks for one."""

    name = "backup"
    title = "Backups of volumes in the object store"
    kind = "swift"
    driver = "cinder.backup.drivers.swift.SwiftBackupDriver"
    where = "in the object store"
    needs = ("object-store",)

    def on(self, ctx: Context) -> bool:
        return wanted(ctx) and ctx.offers("object-store")

    def settings(self, ctx: Context) -> dict[str, Value]:
        return {
            "swift_catalog_info": "object-store:swift:internalURL",
            "backup_swift_auth": "per_user",
            # The user's token may end before a long backup does; a service's word extends it.
            "backup_swift_service_auth": True,
            "backup_swift_object_size": _CHUNK,
        }


class InFiles(_Backups):
    """In a directory of the volume service's, on the machine's own disk."""

    name = "backup-files"
    title = "Backups of volumes in files"
    kind = "posix"
    driver = "onestack.components.cinder.inside.backup_files.FilesBackupDriver"
    where = "in files"

    def on(self, ctx: Context) -> bool:
        return wanted(ctx) and not ctx.offers("object-store")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user("cinder")
        yield Directory(_place(ctx), user, user, 0o700)

    def settings(self, ctx: Context) -> dict[str, Value]:
        return {
            "backup_posix_path": str(_place(ctx)),
            "backup_file_size": _CHUNK,
        }


def _place(ctx: Context) -> Path:
    return ctx.cloud.data / "cinder" / "backups"


def forget(ctx: Context, config: Path, driver: str, where: str) -> Iterator[Change]:
    """No backup whose data is gone, no service that could neither restore nor delete it."""
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of
    from onestack.database.upstream_tables import cinder as tables

    server = server_of(ctx)
    there = tables.backups(server, driver)
    # Another kind of backups may be on, and has the service.
    unheard = not wanted(ctx) and tables.backup_services(server)
    if there or unheard:
        run = "onestack.components.cinder.inside.jobs:forget_backups"
        arguments = {"config": str(config), "driver": driver, "service": not wanted(ctx)}
        job = Job("cinder-forget-backups", "cinder", run, arguments)
        service = ", and their service" if unheard else ""
        yield Change(
            f"forget {there} backups of volumes, which were {where}{service}",
            lambda: ctx.run_job(job),
        )
