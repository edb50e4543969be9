"""Upstream's taskmanager, with one hand on an instance at a time (services' environment).

A database can be deleted by force while it is being made, and a message is delivered again when
the process that took it was killed. Upstream's making then goes on behind the deletion's back:
it makes ports, a volume and a server for an instance that is no more, and nobody removes them.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from oslo_concurrency import lockutils
from trove.common import cfg, exception, utils
from trove.instance.models import DBInstance
from trove.instance.tasks import InstanceTasks
from trove.taskmanager import manager, models

LOG = logging.getLogger("onestack.trove")
UNSETTLED = ("creating", "downloading", "attaching", "detaching")
"""Cinder deletes no volume in these states."""


class Tasks(manager.Manager):  # type: ignore[misc]
    """It knows what it has begun to build; what it deletes, nobody builds meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.building: set[str] = set()

    def create_instance(self, context: Any, instance_id: Any, *further: Any, **named: Any) -> None:
        self.building.update(instance_id if isinstance(instance_id, list) else [instance_id])
        super().create_instance(context, instance_id, *further, **named)

    def delete_instance(self, context: Any, instance_id: str) -> None:
        with _alone_with(instance_id):
            _complete(context, instance_id)
            super().delete_instance(context, instance_id)


class Fresh(models.FreshInstanceTasks):  # type: ignore[misc]
    """An instance that is being made, as long as somebody wants it."""

    def create_instance(self, *further: Any, **named: Any) -> None:
        with _alone_with(self.id):
            if _gone(self.id):
                LOG.info("The instance %s was deleted before it was made", self.id)
                return
            super().create_instance(*further, **named)

    def _service_is_active(self) -> bool:
        if _gone(self.id):
            # by which upstream knows that nobody waits any more
            raise exception.ComputeInstanceNotFound(
                instance_id=self.id, server_id=self.db_info.compute_instance_id
            )
        return bool(super()._service_is_active())


def _alone_with(instance_id: str) -> Any:
    return lockutils.lock(f"trove-{instance_id}")


def _gone(instance_id: str) -> bool:
    row = DBInstance.find_by(id=instance_id)
    return bool(row.deleted or row.task_status == InstanceTasks.DELETING)


def _complete(context: Any, instance_id: str) -> None:
    """What upstream needs to delete all of it: the server's id, and a volume that can go.

    A process that was killed may have asked for a server and not written its id down.
    """
    row = DBInstance.find_by(id=instance_id)
    if row.deleted:
        return
    task = models.BuiltInstanceTasks.load(context, instance_id, needs_server=False)
    if not row.compute_instance_id:
        asked = {"all_tenants": True, "tags": f"trove_instance_id_{instance_id}"}
        for server in task.nova_client.servers.list(search_opts=asked):
            LOG.info("The server %s is the instance's %s", server.id, instance_id)
            row.compute_instance_id = server.id
            row.save()
    named = {"name": f"trove-{instance_id}"}
    with contextlib.suppress(exception.PollTimeOut):
        utils.poll_until(
            lambda: task.volume_client.volumes.list(search_opts=named),
            lambda found: not any(volume.status in UNSETTLED for volume in found),
            sleep_time=2,
            time_out=cfg.CONF.volume_time_out,
        )
