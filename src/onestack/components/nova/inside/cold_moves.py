"""Servers that get another host while they are off: migrated, or with another flavor.

Upstream's, with what it leaves undone added: a server that cannot go is refused before anything is
done to it, one whose copy fails is what it was, and a killed compute service gives back what it had
taken. (Services' environment.)
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from nova import context as nova_context
from nova import exception, objects
from nova.compute import manager, task_states, vm_states
from nova.virt import block_device, driver
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils
from oslo_concurrency.processutils import ProcessExecutionError
from oslo_log import log

from onestack.components.nova.inside import files_elsewhere

STAYS = (
    "servers of this cloud do not go from host to host (CONFIG_ONESTACK_MOVE=n). "
    "onestack up --set CONFIG_ONESTACK_MOVE=y on the controller lets them"
)
OF_A_GROUP = (
    "the volume {} is in a volume group, which is on the controller alone, and the server stays "
    "with it: detach it first"
)
UNDER_WAY = ("pre-migrating", "migrating", "post-migrating")
"""States of a migration that another host is still at."""
ASKING = 5.0
"""Seconds for which a service that ends waits to hear of them."""

LOG = log.getLogger("nova.onestack.cold_moves")


def refuse_or_finish(moving: bool) -> None:
    """Must come before libvirt's driver is first asked. ``moving`` says whether servers may go."""
    migrate = libvirt_driver.LibvirtDriver.migrate_disk_and_power_off

    @functools.wraps(migrate)
    def migrating(
        self: Any,
        context: Any,
        instance: Any,
        dest: str,
        flavor: Any,
        network_info: Any,
        block_device_info: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        given = (context, instance, dest, flavor, network_info, block_device_info, *rest)
        if dest == self.get_host_ip_addr():
            return migrate(self, *given, **more)
        if why := stays(moving, block_device_info):
            raise exception.InstanceFaultRollback(exception.MigrationError(reason=why))
        runs = instance.vm_state != vm_states.STOPPED

        def far(percent: int) -> None:
            instance.progress = percent
            # who has deleted it meanwhile ends the copy by that
            instance.save(expected_task_state=task_states.RESIZE_MIGRATING)

        try:
            with files_elsewhere.telling(far):
                return migrate(self, *given, **more)
        except (
            exception.InstanceFaultRollback,
            exception.InstanceNotFound,
            exception.UnexpectedTaskStateError,
        ):
            raise
        except Exception as problem:  # of whatever kind: the disks are where they were
            LOG.exception("It stays on this host.", instance=instance)
            self.finish_revert_migration(
                context, instance, network_info, None, block_device_info, power_on=runs
            )
            # upstream did so, and does not tell whether it could
            _remove_copied(self, dest, instance)
            raise exception.InstanceFaultRollback(problem) from problem
        finally:
            instance.progress = 0

    libvirt_driver.LibvirtDriver.migrate_disk_and_power_off = migrating


def stays(moving: bool, block_device_info: Any) -> str:
    """Why a server with these disks cannot get another host."""
    if not moving:
        return STAYS
    for disk in driver.block_device_info_get_mapping(block_device_info):
        told = disk["connection_info"]
        if told["driver_volume_type"] == "local":
            return OF_A_GROUP.format(block_device.get_volume_id(told))
    return ""


def give_back_at_start() -> None:
    """What a killed compute service was copying: upstream has the server back on its host, and
    leaves the migration under way, its host's share at placement with that, and what it has copied.
    """
    begin = manager.ComputeManager._init_instance

    @functools.wraps(begin)
    def init_instance(self: Any, context: Any, instance: Any) -> None:
        copied = instance.host == self.host and instance.task_state == task_states.RESIZE_MIGRATING
        if copied:
            instance.progress = 0  # upstream saves it
        begin(self, context, instance)
        if copied:
            try:
                _give_back(self, context, instance)
            except Exception:  # upstream's methods raise anything, and the other servers wait
                LOG.exception("Its migration was not ended.", instance=instance)

    manager.ComputeManager._init_instance = init_instance


def _give_back(service: Any, context: Any, instance: Any) -> None:
    migration = objects.Migration.get_by_id_and_instance(
        context, instance.migration_context.migration_id, instance.uuid
    )
    migration.status = "error"
    migration.save()
    service._revert_allocation(context, instance, migration)
    if migration.dest_compute != service.host:
        _remove_copied(service.driver, migration.dest_host, instance)


def _remove_copied(driver: Any, host: str, instance: Any) -> None:
    """What has come to another host for nothing; it says so where that stays."""
    folder = utils.get_instance_path(instance)
    try:
        driver._remotefs.remove_dir(host, folder)
    # the others: of upstream's own way, where servers do not move
    except (exception.MigrationError, ProcessExecutionError, OSError) as problem:
        LOG.warning(
            "What was copied stays on %s: %s. Remove %s there, unless hosts share it: until then "
            "the server cannot go there as it runs.",
            *(host, problem, folder),
            instance=instance,
        )


def forget_failed(service: Any) -> None:
    """Resizes and moves to this host that were given up: nobody tells it, and as it ends upstream
    waits for them, in vain. Who knows them may be gone, and is not waited for long."""

    def ask() -> None:
        admin = nova_context.get_admin_context()
        try:
            for server in list(service._pending_dest_resizes):
                wanted = {"instance_uuid": server, "status": list(UNDER_WAY)}
                if not objects.MigrationList.get_by_filters(admin, wanted):
                    service._end_pending_dest_resize_task(server)
        except Exception:  # of the bus, or of who is asked there
            LOG.exception("Whether moves to this host were given up is not known.")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ASKING)
