"""What a killed volume service was at, of any back-end: ended by upstream's own methods.

Upstream does so with volumes that were being made or deleted. Of the rest it keeps the state for
ever, or carries it out twice where it waited in the queue. What the pool alone can end, its driver
does before that (`interrupted`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cinder import context as contexts
from cinder import exception, objects
from cinder.objects import fields
from cinder.volume import manager, rpcapi
from oslo_log import log as logging

from onestack.components.cinder.inside import interrupted
from onestack.components.cinder.inside.messages import COPY, tell
from onestack.components.cinder.inside.refusals import MIGRATE, NOT_DONE, RETYPE, Refused
from onestack.components.cinder.inside.reservations import give_back, held, roll_back

LOG = logging.getLogger(__name__)
_MOVING = ("starting", "migrating")


def finish_at_start() -> None:
    """Once the driver works, and before anything is asked of the service."""
    begin = manager.VolumeManager.init_host

    @functools.wraps(begin)
    def init_host(self: Any, *arguments: Any, **more: Any) -> None:
        begin(self, *arguments, **more)
        if self.driver.initialized:
            finish(self)

    manager.VolumeManager.init_host = init_host


def finish(service: Any) -> None:
    """Of the volume manager ``service``, which does nothing else yet."""
    admin = contexts.get_admin_context()
    for snapshot in service._get_my_snapshots(admin):
        _safely(_finish_snapshot, service, admin, snapshot)
    for volume in service._get_my_volumes(admin):
        _safely(_finish_volume, service, admin, volume)


def _safely(end: Callable[[Any, Any, Any], None], service: Any, admin: Any, thing: Any) -> None:
    try:
        end(service, admin, thing)
    except Exception:  # upstream's methods raise anything, and the others are to be had
        LOG.exception("%s %s stays %s.", thing.obj_name(), thing.id, thing.status)


def _finish_snapshot(service: Any, admin: Any, snapshot: Any) -> None:
    status = fields.SnapshotStatus
    if snapshot.status in (status.DELETING, status.UNMANAGING):
        service.delete_snapshot(admin, snapshot, snapshot.status == status.UNMANAGING)
    elif snapshot.status == status.RESTORING and snapshot.volume.status != "reverting":
        snapshot.status = status.AVAILABLE
        snapshot.save()
    elif snapshot.status == status.CREATING and not snapshot.use_quota:
        # No user's: it was to be read for a backup, of which no other service knows it.
        service.delete_snapshot(admin, snapshot)
        asked = {"volume_id": snapshot.volume_id, "status": fields.BackupStatus.CREATING}
        for backup in objects.BackupList.get_all(admin, filters=asked):
            if not (backup.snapshot_id or backup.temp_snapshot_id):
                interrupted.give_up_backup(backup, Refused(NOT_DONE))


def _finish_volume(service: Any, admin: Any, volume: Any) -> None:
    if volume.status in ("unmanaging", "error_managing_deleting"):
        service.delete_volume(admin, volume, unmanage_only=volume.status == "unmanaging")
    elif _left(volume):
        service.delete_volume(admin, volume)
    elif volume.status == "retyping" or volume.migration_status in _MOVING:
        _call_off(admin, volume)


def _left(volume: Any) -> bool:
    """Whether it is the copy of a migration that is no more."""
    mark = str(volume.migration_status or "")
    if not mark.startswith(COPY):
        return False
    try:
        moved = objects.Volume.get_by_id(contexts.get_admin_context(), mark.removeprefix(COPY))
    except exception.VolumeNotFound:
        return True
    return moved.migration_status in (None, "error")


def _call_off(admin: Any, volume: Any) -> None:
    """The volume is what it was before. What servers have, nova may be copying, and ends that."""
    if volume.migration_status == "completing":
        return
    if volume.volume_attachment and volume.migration_status == "migrating":
        return
    copies = {"migration_status": f"{COPY}{volume.id}"}
    for copy in objects.VolumeList.get_all(admin, filters=copies):
        rpcapi.VolumeAPI().delete_volume(admin, copy)
    action = RETYPE if volume.status == "retyping" else MIGRATE
    if volume.status in ("retyping", "maintenance"):
        volume.status = volume.previous_status
    if volume.migration_status in _MOVING:
        volume.migration_status = "error"
    volume.save()
    give_back(volume)
    tell(volume, action, Refused(NOT_DONE))
    LOG.warning("To %s %s was interrupted, and is not done.", action[1], volume.id)


def heed_what_is_settled() -> None:
    """What waited in the queue while the service started has been ended: it is not done again."""
    _heed_with_quota(manager.VolumeManager)
    _heed(manager.VolumeManager)


def _heed_with_quota(service: Any) -> None:
    extend, retype = service.extend_volume, service.retype

    @functools.wraps(extend)
    def extend_volume(
        self: Any, context: Any, volume: Any, new_size: int, reservations: Any
    ) -> Any:
        if _is(volume, status="extending"):
            with held(volume, reservations):
                return extend(self, context, volume, new_size, reservations)
        return roll_back(volume, reservations)

    @functools.wraps(retype)
    def change_type(
        self: Any,
        context: Any,
        volume: Any,
        new_type_id: str,
        host: Any,
        migration_policy: str = "never",
        reservations: Any = None,
        old_reservations: Any = None,
    ) -> Any:
        if not _is(volume, status="retyping"):
            return roll_back(volume, reservations, old_reservations)
        with held(volume, reservations, old_reservations):
            return retype(
                self,
                context,
                volume,
                new_type_id,
                host,
                migration_policy,
                reservations=reservations,
                old_reservations=old_reservations,
            )

    service.extend_volume, service.retype = extend_volume, change_type


def _heed(service: Any) -> None:
    revert, migrate = service.revert_to_snapshot, service.migrate_volume
    manage, delete = service.manage_existing, service.delete_snapshot

    @functools.wraps(revert)
    def revert_to_snapshot(self: Any, context: Any, volume: Any, snapshot: Any) -> Any:
        if _is(volume, status="reverting"):
            return revert(self, context, volume, snapshot)
        status = fields.SnapshotStatus
        return snapshot.update_single_status_where(status.AVAILABLE, status.RESTORING)

    @functools.wraps(migrate)
    def migrate_volume(self: Any, ctxt: Any, volume: Any, *where: Any, **more: Any) -> Any:
        if _is(volume, migration_status="starting"):
            return migrate(self, ctxt, volume, *where, **more)
        return None

    @functools.wraps(manage)
    def manage_existing(self: Any, ctxt: Any, volume: Any, ref: Any = None) -> Any:
        return manage(self, ctxt, volume, ref) if _is(volume, status="managing") else None

    @functools.wraps(delete)
    def delete_snapshot(self: Any, context: Any, snapshot: Any, *how: Any, **more: Any) -> Any:
        return delete(self, context, snapshot, *how, **more) if _is(snapshot) else None

    service.revert_to_snapshot, service.migrate_volume = revert_to_snapshot, migrate_volume
    service.manage_existing, service.delete_snapshot = manage_existing, delete_snapshot


def _is(thing: Any, **as_asked: str) -> bool:
    """Whether the volume or snapshot still is as it was when something was asked for."""
    try:
        thing.refresh()
    except exception.NotFound:
        return False
    still = all(getattr(thing, name) == value for name, value in as_asked.items())
    if not still:
        LOG.warning("%s is %s: what was asked for before is settled.", thing.id, thing.status)
    return still
