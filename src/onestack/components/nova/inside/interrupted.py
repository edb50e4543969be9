"""Servers whose making was interrupted: none stays in between, and each says why it is in error.

Messages to a service that ends are lost with the broker, or with the service that has taken them.
Upstream leaves a server for ever where the conductor lost it, gives no reason where the compute
service did; and one that a user asks for while the compute service starts it sets to error, also
where the message that makes it waits to be read. (Services' environment.)
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from nova import context as contexts
from nova import exception, objects
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova.context import target_cell
from oslo_log import log as logging
from oslo_service import periodic_task
from oslo_utils import timeutils

LOG = logging.getLogger(__name__)
CURE = "Delete it and make it again."
PASS = 60
"""Seconds between two looks."""
WAITS = 60.0
"""Seconds from which on a server waits for a message that will not come, and not for its turn."""
FORGOTTEN = 300
"""Seconds from which on a request belongs to nobody: twice what a scheduler may take, and more."""


class Interrupted(exception.NovaException):  # type: ignore[misc]
    msg_fmt = "%(reason)s"


class Lost(exception.NovaException):  # type: ignore[misc]
    msg_fmt = f"The request to make the server was lost when a service ended. {CURE}"


def end_at_the_compute(service: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Of the compute manager ``service``, before it starts."""
    begin, build = service._init_instance, service.build_and_run_instance
    unclaimed = Unclaimed(clock)

    @functools.wraps(begin)
    def init_instance(context: Any, instance: Any) -> None:
        state, task = instance.vm_state, instance.task_state
        begin(context, instance)
        if instance.vm_state == vm_states.ERROR != state:
            what = f"The compute service of {service.host} ended in the middle of"
            cure = f" {CURE}" if state == vm_states.BUILDING else ""
            explain(context, instance, Interrupted(reason=f"{what} {task or state}.{cure}"))

    @functools.wraps(build)
    def build_and_run_instance(context: Any, instance: Any, *more: Any, **named: Any) -> Any:
        unclaimed.accept(instance.uuid)
        return build(context, instance, *more, **named)

    def nothing(*arguments: Any) -> None:
        """Their messages may be in the queue, which is read next."""

    service._init_instance = init_instance
    service.build_and_run_instance = build_and_run_instance
    service._error_out_instances_whose_build_was_interrupted = nothing
    service.add_periodic_task(_each_minute(end_unclaimed, unclaimed))


def _each_minute(work: Callable[..., None], *given: Any) -> Any:
    """A periodic task of upstream's kind, which calls ``work`` with its manager and context."""

    def task(self: Any, context: Any) -> None:
        work(self, context, *given)

    task.__name__ = work.__name__
    return periodic_task.periodic_task(spacing=PASS)(task)


def explain(context: Any, instance: Any, reason: Exception) -> None:
    """``openstack server show`` has it as the fault."""
    try:
        compute_utils.add_instance_fault_from_exc(context, instance, reason)
    except exception.InstanceNotFound:
        LOG.debug("It was deleted meanwhile.", instance=instance)


class Unclaimed:
    """Servers that were given to this host, of whose making no message has told it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accepted: set[str] = set()
        self._since: dict[str, float] = {}

    def accept(self, identity: str) -> None:
        """Its message was heard. It may wait for others that are made."""
        self._accepted.add(identity)

    def lost(self, service: Any, context: Any) -> list[Any]:
        """Those that wait for it too long, as of now."""
        before = set(self._accepted)
        wanted = {"vm_state": vm_states.BUILDING, "host": None}
        found = {
            instance.uuid: instance
            for instance in objects.InstanceList.get_by_filters(context, wanted, expected_attrs=[])
        }
        self._accepted -= before - set(found)
        ours = set(found) - self._accepted
        if ours:
            ours &= _allocated(service, context)
        now = self._clock()
        self._since = {identity: self._since.get(identity, now) for identity in ours}
        return [found[one] for one, since in self._since.items() if now - since >= WAITS]


def end_unclaimed(service: Any, context: Any, unclaimed: Unclaimed) -> None:
    for instance in unclaimed.lost(service, context):
        LOG.warning("The message that makes it was lost.", instance=instance)
        explain(context, instance, Lost())
        service._set_instance_obj_error_state(instance, clean_task_state=True)


def _allocated(service: Any, context: Any) -> set[str]:
    """Who has something of this host's."""
    nodes = service.rt.compute_nodes.values()
    asked = service.reportclient.get_allocations_for_resource_provider
    try:
        return {identity for node in nodes for identity in asked(context, node.uuid).allocations}
    except exception.ResourceProviderAllocationRetrievalFailed as error:
        LOG.warning("Servers whose making was lost are not looked for: %s", error)
        return set()


def end_at_the_conductor(service: Any) -> None:
    """Of the conductor's manager ``service``, before it starts."""
    service.add_periodic_task(_each_minute(end_forgotten))


def end_forgotten(service: Any, context: Any) -> None:
    """Requests that are too old to be worked on."""
    for request in objects.BuildRequestList.get_all(context):
        if _age(request) >= FORGOTTEN:
            LOG.warning("The request for server %s was lost.", request.instance_uuid)
            try:
                _end(service.compute_task_mgr, contexts.get_admin_context(), request)
            except Exception:  # of one request; upstream's methods raise anything
                LOG.exception("The request for server %s stays.", request.instance_uuid)


def _age(request: Any) -> float:
    """Seconds."""
    return float((timeutils.utcnow(with_timezone=True) - request.created_at).total_seconds())


def _end(tasks: Any, context: Any, request: Any) -> None:
    """As a request that found no host ends; or as far as it has come, as one that found one.

    Its server is told by the request as long as there is one, and only then by the cell.
    """
    mapping = objects.InstanceMapping.get_by_instance_uuid(context, request.instance_uuid)
    if mapping.cell_mapping is None:
        if cell := _has_it(tasks, context, request):
            mapping.cell_mapping = cell
            mapping.save()
        else:
            spec = objects.RequestSpec.get_by_instance_uuid(context, request.instance_uuid)
            more = {"block_device_mapping": _disks(context, request), "tags": request.tags}
            tasks._bury_in_cell0(context, spec, Lost(), build_requests=[request], **more)
            return
    request.destroy()


def _has_it(tasks: Any, context: Any, request: Any) -> Any:
    """The cell in which the conductor had made the server's row, with its disks from now on."""
    identity = request.instance_uuid
    for cell in objects.CellMappingList.get_all(context):
        with target_cell(context, cell) as there:
            try:
                instance = objects.Instance.get_by_uuid(there, identity, expected_attrs=["flavor"])
            except exception.InstanceNotFound:
                continue
            if not objects.BlockDeviceMappingList.get_by_instance_uuid(there, identity):
                wanted = _disks(context, request)
                tasks._create_block_device_mapping(cell, instance.flavor, identity, wanted)
            if cell.is_cell0() and instance.vm_state != vm_states.ERROR:
                instance.vm_state, instance.task_state = vm_states.ERROR, None
                instance.save()
                explain(there, instance, Lost())
            return cell
    return None


def _disks(context: Any, request: Any) -> Any:
    """To be written; those of a request out of the table count as written, and have no context."""
    kind = objects.BlockDeviceMapping
    return objects.BlockDeviceMappingList(
        objects=[
            kind(context, **{f: getattr(disk, f) for f in kind.fields if disk.obj_attr_is_set(f)})
            for disk in request.block_device_mappings
        ]
    )
