"""What an earlier process had begun and not finished (services' environment).

The taskmanager works for minutes on what a client was promised in a moment. What it leaves
undone when it ends upstream keeps for ever: an instance in BUILD can neither be used nor
deleted, one in RESIZE may have lost its volume. This process is the only one that works, so
what it finds begun at its start is nobody's, and each is brought to an end.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from oslo_utils import timeutils
from trove.backup.models import DBBackup
from trove.backup.state import BackupState
from trove.common import cfg, utils
from trove.common.context import TroveContext
from trove.instance.models import DBInstance
from trove.instance.tasks import InstanceTask, InstanceTasks
from trove.quota.models import QuotaUsage, Reservation
from trove.taskmanager import models

from onestack.components.trove.inside.tasks import Fresh, Tasks

LOG = logging.getLogger("onestack.trove")
MINE_SECONDS = 20.0
"""After so long, what the bus had kept for the taskmanager has been taken from it."""
DELETION_SECONDS = 1800
DELETION_PAUSE = 30
"""Seconds for which, and after which, an interrupted deletion that fails is tried again."""
_DONE = (
    InstanceTasks.REBOOTING,
    InstanceTasks.PROMOTING,
    InstanceTasks.EJECTING,
    InstanceTasks.LOGGING,
    InstanceTasks.DETACHING,
    InstanceTasks.UPGRADING,
    InstanceTasks.UPDATING,
)
"""Of these the guest itself knows how far it came, and its state is told by what it says."""
_MOVED = (InstanceTasks.RESIZING, InstanceTasks.MIGRATING)


def settle(tasks: Tasks) -> None:
    """Before anything is asked of this process; what takes long goes on beside it."""
    _forget_reservations()
    _fail_backups(state=BackupState.NEW)
    for instance in _left(*_DONE):
        _tell(instance, "is left as it is")
        instance.set_task_status(InstanceTasks.NONE)
        instance.save()
    for instance in _left(InstanceTasks.DELETING):
        _tell(instance, "is deleted now")
        _beside(_delete, tasks, instance)
    for instance in _left(*_MOVED):
        _tell(instance, "is brought back to where it was")
        _beside(_bring_back, instance)
    if building := [instance.id for instance in _left(InstanceTasks.BUILDING)]:
        _beside(_settle_builds, tasks, building)
    if running := [b for state in BackupState.RUNNING_STATES for b in _backups(state)]:
        _beside(_watch_backups, running)


def _left(*those: InstanceTask) -> list[Any]:
    found = DBInstance.find_all(deleted=False).all()
    return [instance for instance in found if instance.task_status in those]


def _tell(instance: Any, what: str) -> None:
    LOG.warning("%s of the instance %s was interrupted: it %s", _task(instance), instance.id, what)


def _task(instance: Any) -> str:
    return str(instance.task_status.action)


def _context(instance: Any) -> TroveContext:
    """As the taskmanager needs one: what it does, it does with its own account."""
    return TroveContext(
        user_id=cfg.CONF.service_credentials.username,
        project_id=instance.tenant_id,
        is_admin=True,
    )


def _beside(work: Callable[..., None], *arguments: Any) -> None:
    named = f"{work.__name__} of what was interrupted"
    threading.Thread(target=_alone, args=(named, work, *arguments), daemon=True).start()


def _alone(named: str, work: Callable[..., None], *arguments: Any) -> bool:
    """Whether it ended well. What fails of one thing is told, and is nothing to the others."""
    try:
        work(*arguments)
    except Exception:
        LOG.exception("%s failed", named)
        return False
    return True


def _delete(tasks: Tasks, instance: Any) -> None:
    """Until it is gone: whom it asks may be starting too, and nobody would ask again."""
    named, identity = f"deleting the instance {instance.id}", instance.id

    def gone() -> bool:
        if _alone(named, tasks.delete_instance, _context(instance), identity):
            return True
        return bool(DBInstance.find_by(id=identity).deleted)

    utils.poll_until(gone, sleep_time=DELETION_PAUSE, time_out=DELETION_SECONDS)


def _end(instance: Any, state: InstanceTask) -> None:
    """Unless somebody did meanwhile."""
    now = DBInstance.find_by(id=instance.id)
    if now.task_status == instance.task_status and not now.deleted:
        now.set_task_status(state)
        now.save()


def _forget_reservations() -> None:
    """What requests held of quotas that were being answered: none is, at this moment."""
    for usage in QuotaUsage.find_all().all():
        if usage.reserved:
            usage.reserved = 0
            usage.save()
    for held in Reservation.find_all(status=Reservation.Statuses.RESERVED).all():
        held.status = Reservation.Statuses.ROLLEDBACK
        held.save()


def _backups(state: str) -> list[Any]:
    return list(DBBackup.find_all(state=state, deleted=False).all())


def _fail_backups(state: str) -> None:
    """No guest has begun these."""
    for backup in _backups(state):
        _fail(backup)


def _fail(backup: Any) -> None:
    LOG.error("The backup %s was interrupted", backup.id)
    backup.state = BackupState.FAILED
    backup.save()


def _watch_backups(running: list[Any]) -> None:
    """Guests make them without us, and say so themselves; but not one that does not run."""
    for backup in running:
        _alone(f"asking for the guest of the backup {backup.id}", _watch_backup, backup)


def _watch_backup(backup: Any) -> None:
    found = DBInstance.find_all(id=backup.instance_id, deleted=False).all()
    server = next((_server(instance) for instance in found), None)
    if server is None or server.status in ("ERROR", "SHUTOFF"):
        _fail(backup)


def _server(instance: Any) -> Any:
    """Nova's, or none."""
    nova = models.BuiltInstanceTasks.load(
        _context(instance), instance.id, needs_server=False
    ).nova_client
    found = nova.servers.list(
        search_opts={"all_tenants": True, "uuid": instance.compute_instance_id}
    )
    return found[0] if instance.compute_instance_id and found else None


def _settle_builds(tasks: Tasks, building: list[str]) -> None:
    time.sleep(MINE_SECONDS)
    for identity in building:
        _alone(f"the making of the instance {identity}", _settle_build, tasks, identity)


def _settle_build(tasks: Tasks, identity: str) -> None:
    instance = DBInstance.find_by(id=identity)
    begun = identity in tasks.building or instance.task_status != InstanceTasks.BUILDING
    if begun or instance.deleted:
        return
    if instance.compute_instance_id:
        # All that it needs was sent to it; whether it made something of that, it will say.
        _tell(instance, "is waited for again")
        _beside(_wait_for, instance)
    else:
        _tell(instance, "is in ERROR, and can be deleted")
        _end(instance, InstanceTasks.BUILDING_ERROR_SERVER)


def _wait_for(instance: Any) -> None:
    """It is used or in ERROR afterwards; upstream's own leaves it when nova fails."""
    _alone(f"waiting for the instance {instance.id}", _wait_again, instance)
    _end(instance, InstanceTasks.BUILDING_ERROR_SERVER)


def _wait_again(instance: Any) -> None:
    """As long as upstream waits for a restore, from now on: the machine may have been off.

    Whether it is one is told by nothing that upstream keeps of an instance.
    """
    task = Fresh.load(_context(instance), instance.id)
    flavor = task.nova_client.flavors.get(instance.flavor_id)
    task.wait_for_instance(cfg.CONF.restore_usage_timeout, {"ram": flavor.ram})


def _bring_back(instance: Any) -> None:
    """It can be used or deleted afterwards, however far this came."""
    _alone(f"bringing the instance {instance.id} back", _put_together, instance)
    _end(instance, InstanceTasks.NONE)


def _put_together(instance: Any) -> None:
    """The server and the volume that trove knows, and the database started."""
    task = models.BuiltInstanceTasks.load(_context(instance), instance.id)
    _await_compute(task, timeutils.utcnow())
    _settle_server(task)
    _settle_volume(task)
    # Its agent mounts the volume when it starts, wherever it had been.
    task.server.reboot(reboot_type="HARD")
    time.sleep(5)
    _until(task, "ACTIVE", cfg.CONF.reboot_time_out)
    task.guest.restart()
    if task.volume_id:
        manager_name = task.datastore_version.manager
        task.guest.resize_fs(
            device_path=task.device_path,
            mount_point=cfg.CONF.get(manager_name).mount_point,
            online=True,
        )


def _await_compute(task: Any, since: datetime.datetime) -> None:
    """Until the server's host has reported after ``since`` (UTC, naive).

    After a power cut the bus is as empty as the machine: what nova has for a host whose compute
    service does not listen yet, such as to restart a server, is heard by nobody, and the server
    is being restarted for ever.
    """
    host = getattr(task.server, "OS-EXT-SRV-ATTR:host", None)

    def reported() -> bool:
        services = task.nova_client.services.list(binary="nova-compute", host=host)
        times = (service.updated_at for service in services if service.updated_at)
        return any(timeutils.parse_isotime(f"{at}Z").replace(tzinfo=None) > since for at in times)

    utils.poll_until(reported, sleep_time=3, time_out=cfg.CONF.usage_timeout)


def _settle_server(task: Any) -> None:
    """A change of flavor that was not confirmed is taken back; one that was is written down."""

    def changed() -> bool:
        task.refresh_compute_server_info()
        return task.server.status.upper() not in ("RESIZE", "REVERT_RESIZE", "REBOOT")

    utils.poll_until(changed, sleep_time=3, time_out=cfg.CONF.resize_time_out)
    if task.server.status.upper() == "VERIFY_RESIZE":
        task.server.revert_resize()
        _until(task, "ACTIVE", cfg.CONF.revert_time_out)
    name = task.server.flavor["original_name"]
    flavors = {flavor.name: flavor.id for flavor in task.nova_client.flavors.list(is_public=None)}
    if flavors.get(name, task.flavor_id) != task.flavor_id:
        task.update_db(flavor_id=flavors[name])


def _settle_volume(task: Any) -> None:
    """It is attached, and as large as cinder says."""
    if not task.volume_id:
        return

    def volume() -> Any:
        return task.volume_client.volumes.get(task.volume_id)

    def settled(found: Any) -> bool:
        return found.status in ("available", "in-use", "error", "error_extending")

    utils.poll_until(volume, settled, sleep_time=2, time_out=cfg.CONF.volume_time_out)
    if volume().status == "available":
        task.nova_client.volumes.create_server_volume(
            task.server.id, task.volume_id, task.device_path
        )
        utils.poll_until(
            volume,
            lambda found: found.status == "in-use",
            sleep_time=2,
            time_out=cfg.CONF.volume_time_out,
        )
    if volume().size != task.volume_size:
        task.update_db(volume_size=volume().size)


def _until(task: Any, status: str, seconds: int) -> None:
    def is_so() -> bool:
        task.refresh_compute_server_info()
        return bool(task.server_status_matches([status]))

    utils.poll_until(is_so, sleep_time=3, time_out=seconds)
