"""Servers whose making a conductor did not end: none stays in BUILD for ever.

Upstream's conductor reads a request, has a host chosen, makes the server's row in a cell and tells
the host. Where it ends in the middle of that, or what it was told is lost with the broker, nobody
goes on: not with the request, nor with a server that another host was to make after a failure.
(Services' environment.)
"""

from __future__ import annotations

import collections
import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keystoneauth1.exceptions import ClientException
from nova import context as contexts
from nova import exception, objects
from nova.compute import vm_states
from nova.context import target_cell
from oslo_log import log as logging

from onestack.components.nova.inside.interrupted import (
    LOST,
    WAITING,
    Lost,
    Seen,
    each_minute,
    explain,
)

LOG = logging.getLogger(__name__)
_DISK = (
    *("source_type", "destination_type", "volume_id", "image_id", "snapshot_id"),
    *("boot_index", "device_name", "guest_format", "volume_size"),
)
"""What tells one of a server's disks from the others."""


def end_at_the_conductor(service: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Of the conductor's manager ``service``, before it starts."""
    tasks, in_hand = service.compute_task_mgr, InHand()
    schedule, build = tasks.schedule_and_build_instances, tasks.build_instances

    @functools.wraps(schedule)
    def schedule_and_build_instances(
        context: Any, build_requests: Any, *more: Any, **kw: Any
    ) -> Any:
        with in_hand.having(request.instance_uuid for request in build_requests):
            return schedule(context, build_requests, *more, **kw)

    @functools.wraps(build)
    def build_instances(context: Any, instances: Any, **more: Any) -> Any:
        with in_hand.having(instance.uuid for instance in instances):
            return build(context, instances, **more)

    tasks.schedule_and_build_instances = schedule_and_build_instances
    tasks.build_instances = build_instances
    service.add_periodic_task(each_minute(end_forgotten, in_hand, Seen(clock), Seen(clock)))


class InHand:
    """Servers that a conductor works on, by any of its threads."""

    def __init__(self) -> None:
        self._each: dict[object, frozenset[str]] = {}
        """By who works on them."""

    @contextlib.contextmanager
    def having(self, identities: Iterable[str]) -> Iterator[None]:
        work = object()
        self._each[work] = frozenset(identities)
        try:
            yield
        finally:
            del self._each[work]

    def __contains__(self, identity: object) -> bool:
        return any(identity in mine for mine in tuple(self._each.values()))


def end_forgotten(
    service: Any, context: Any, in_hand: InHand, requested: Seen, rescheduled: Seen
) -> None:
    """What nobody has in hand for too long: requests, and servers that have left their host."""
    tasks, admin = service.compute_task_mgr, contexts.get_admin_context()
    requests = {r.instance_uuid: r for r in objects.BuildRequestList.get_all(admin)}
    for identity in requested.longer(LOST, [one for one in requests if one not in in_hand]):
        LOG.warning("The request for server %s was lost.", identity)
        with _apart(identity):
            _end(tasks, admin, requests[identity])
    waiting = dict(_waiting(admin))
    left = [one for one in waiting if one not in requests and one not in in_hand]
    for identity in rescheduled.longer(LOST, left):
        with _apart(identity), target_cell(admin, waiting[identity]) as there:
            if not tasks.report_client.get_allocations_for_consumer(there, identity):
                # Who has some is for the compute service of that host to end.
                LOG.warning("Whoever was to make server %s elsewhere was lost.", identity)
                _fail(there, objects.Instance.get_by_uuid(there, identity))


@contextlib.contextmanager
def _apart(identity: str) -> Iterator[None]:
    """What goes wrong with one server keeps nobody else from ending."""
    try:
        yield
    except (exception.InstanceNotFound, exception.BuildRequestNotFound):
        LOG.debug("Server %s was deleted meanwhile.", identity)
    except ClientException as error:
        LOG.warning("Server %s stays as it is: %s", identity, error)
    except Exception:  # upstream's methods raise anything
        LOG.exception("Server %s stays as it is.", identity)


def _waiting(admin: Any) -> Iterator[tuple[str, Any]]:
    """Servers in BUILD without a host, each with its cell."""
    for cell in objects.CellMappingList.get_all(admin):
        if not cell.is_cell0():
            with target_cell(admin, cell) as there:
                for one in objects.InstanceList.get_by_filters(there, WAITING, expected_attrs=[]):
                    yield one.uuid, cell


def _end(tasks: Any, admin: Any, request: Any) -> None:
    """As a request that found no host ends; or as far as it has come, as one that found one.

    Its server is told by the request as long as there is one, and only then by the cell.
    """
    identity = request.instance_uuid
    mapping = objects.InstanceMapping.get_by_instance_uuid(admin, identity)
    if mapping.cell_mapping is None or mapping.cell_mapping.is_cell0():
        cell = _has_it(tasks, admin, request)
        if cell is None:
            spec = objects.RequestSpec.get_by_instance_uuid(admin, identity)
            more = {"block_device_mapping": _disks(admin, request), "tags": request.tags}
            tasks._bury_in_cell0(admin, spec, Lost(), build_requests=[request], **more)
            # Of the host that was chosen for it.
            tasks.report_client.delete_allocation_for_instance(admin, identity, force=True)
            return
        mapping.cell_mapping = cell
        mapping.save()
    request.destroy()


def _has_it(tasks: Any, admin: Any, request: Any) -> Any:
    """The cell in which the conductor had made the server's row: with all that belongs to it."""
    identity = request.instance_uuid
    for cell in objects.CellMappingList.get_all(admin):
        with target_cell(admin, cell) as there:
            try:
                instance = objects.Instance.get_by_uuid(
                    there, identity, expected_attrs=["flavor", "tags"]
                )
            except exception.InstanceNotFound:
                continue
            made = objects.BlockDeviceMappingList.get_by_instance_uuid(there, identity)
            if missing := _without(_disks(admin, request), made):
                tasks._create_block_device_mapping(cell, instance.flavor, identity, missing)
            if not instance.tags:
                tasks._create_tags(there, identity, request.tags)
            if cell.is_cell0() and instance.vm_state != vm_states.ERROR:
                _fail(there, instance)
            return cell
    return None


def _fail(there: Any, instance: Any) -> None:
    explain(there, instance, Lost())
    instance.vm_state, instance.task_state = vm_states.ERROR, None
    instance.save()


def _disks(admin: Any, request: Any) -> list[Any]:
    """To be written; those of a request out of the table count as written, and have no context."""
    kind = objects.BlockDeviceMapping
    return [
        kind(admin, **{f: getattr(disk, f) for f in kind.fields if disk.obj_attr_is_set(f)})
        for disk in request.block_device_mappings
    ]


def _without(disks: list[Any], made: Any) -> list[Any]:
    """Those that are not ``made`` yet."""

    def key(disk: Any) -> tuple[Any, ...]:
        return tuple(getattr(disk, name) if disk.obj_attr_is_set(name) else None for name in _DISK)

    there = collections.Counter(key(disk) for disk in made)
    missing = []
    for disk in disks:
        if there[key(disk)]:
            there[key(disk)] -= 1
        else:
            missing.append(disk)
    return missing
