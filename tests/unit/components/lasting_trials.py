"""Run in the services' environment: states of upstream's that ours name."""

from __future__ import annotations

import sys

from onestack.components.cinder import passing as of_cinder
from onestack.components.nova import passing as of_nova


def states() -> None:
    """Print trove's tasks that are under way; the others' names are upstream's."""
    from cinder.objects import fields
    from nova.compute import task_states
    from trove.instance.tasks import InstanceTask, InstanceTasks

    volumes = (fields.VolumeStatus, fields.SnapshotStatus, fields.BackupStatus)
    known = {state for each in volumes for state in each.ALL}
    unknown = (of_cinder.LONG | of_cinder._SETTLED_AT_START) - known
    assert not unknown, unknown
    tasks = {value for value in vars(task_states).values() if isinstance(value, str)}
    unknown = (of_nova.LONG | of_nova._EMPTY | of_nova._IN_AN_IMAGE) - {*tasks, "building"}
    assert not unknown, unknown
    resting = {InstanceTasks.NONE.code, InstanceTasks.RESTART_REQUIRED.code}
    made = InstanceTasks.BUILDING.code
    for code, task in sorted(InstanceTask._lookup.items()):
        if not task.is_error and code not in {*resting, made}:
            print(f"{code}={task.action}")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
