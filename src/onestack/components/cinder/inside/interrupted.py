"""What a killed volume service was at in the pool, brought to an end at its next start.

Cinder itself sees to volumes that were being made or deleted, and `unfinished` to what is of any
back-end. Of what is here cinder keeps the state for ever.
"""

from __future__ import annotations

import contextlib
from typing import Any

from cinder import context, exception, objects
from cinder.message.message_field import Action
from cinder.objects import fields
from cinder.volume import volume_utils
from oslo_log import log as logging

from onestack.components.cinder.inside.messages import tell
from onestack.components.cinder.inside.refusals import NOT_DONE, Refused
from onestack.components.cinder.inside.reservations import give_back

LOG = logging.getLogger(__name__)


def settle(driver: Any, volumes: Any, snapshots: Any) -> None:
    """Of the ``driver``'s ``volumes`` and ``snapshots``, before anything is asked of it."""
    for volume in volumes:
        try:
            # A restore that was killed has left it short.
            driver.make_whole(volume)
            if volume.status == "reverting":
                _revert(driver, volume, snapshots)
            elif volume.status == "extending":
                _forget_growth(driver, volume)
            elif volume.status == "managing":
                _give_again(driver, volume)
        except (OSError, exception.CinderException):
            # The others are to be had.
            LOG.exception("Volume %s stays %s.", volume.id, volume.status)


def _revert(driver: Any, volume: Any, snapshots: Any) -> None:
    """Once more: nobody has used the volume since, whether it was done or not."""
    restoring = fields.SnapshotStatus.RESTORING
    for snapshot in snapshots:
        if snapshot.volume_id == volume.id and snapshot.status == restoring:
            driver.revert_to_snapshot(context.get_admin_context(), volume, snapshot)
            snapshot.status = fields.SnapshotStatus.AVAILABLE
            snapshot.save()
            LOG.warning("Volume %s was being reverted to %s, and is.", volume.id, snapshot.id)
    volume.status = "available"
    volume.save()


def _forget_growth(driver: Any, volume: Any) -> None:
    """How large it was to become is not known: it is as large as cinder says."""
    if not driver.settle_size(volume):
        LOG.warning("The file of volume %s is larger than it, and was written to.", volume.id)
    volume.status = "in-use" if volume.volume_attachment else "available"
    volume.save()
    give_back(volume)
    tell(volume, Action.EXTEND_VOLUME, Refused(NOT_DONE))
    LOG.warning("Volume %s was being extended, and is not: ask again.", volume.id)


def _give_again(driver: Any, volume: Any) -> None:
    """The file is where it was taken from, under the volume's name; deleting the volume spares it.

    Its quota has been taken without the size.
    """
    with contextlib.suppress(FileNotFoundError):  # it was not yet taken
        driver.unmanage(volume)
    volume.size = 0
    volume.status = "error"
    volume.save()
    tell(volume, Action.CREATE_VOLUME_FROM_BACKEND, Refused(NOT_DONE))
    LOG.warning("Volume %s was to be managed, and is not: delete it and ask again.", volume.id)


def give_up_backup(backup: Any, problem: Exception) -> None:
    """The ``backup`` is in error, and what it was to be of is what it was before."""
    admin = context.get_admin_context()
    # Of what is deleted meanwhile there is nothing to put right.
    with contextlib.suppress(exception.VolumeNotFound, exception.SnapshotNotFound):
        if backup.snapshot_id:
            snapshot = objects.Snapshot.get_by_id(admin, backup.snapshot_id)
            snapshot.status = fields.SnapshotStatus.AVAILABLE
            snapshot.save()
        else:
            volume = objects.Volume.get_by_id(admin, backup.volume_id)
            volume.status = volume.previous_status
            volume.save()
    volume_utils.update_backup_error(backup, str(problem))


def heir(volume: Any) -> str:
    """The id of another volume that has the file of this one, or nothing.

    Where a migration of a volume in use breaks off at its end, cinder has both: the volume, whose
    file is the copy's, and the copy, which looks like any other that somebody may delete.
    """
    if volume.name_id != volume.id:
        return ""
    found = objects.VolumeList.get_all(context.get_admin_context(), filters={"_name_id": volume.id})
    return next((str(each.id) for each in found if each.id != volume.id), "")
