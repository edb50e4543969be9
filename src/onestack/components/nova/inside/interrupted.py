"""Servers whose making a compute service did not end: each says why it is in error.

What a service was at when it ended is lost, and with the broker all that waits there. Upstream sets
servers of a compute service to error as that starts, without a word to their user; and those as
well that a user asks for meanwhile, whose message waits to be read. What the conductor loses
is in `forgotten`. (Services' environment.)
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

from keystoneauth1.exceptions import ClientException
from nova import exception, objects
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from oslo_log import log as logging
from oslo_service import periodic_task

LOG = logging.getLogger(__name__)
AGAIN = "Delete it and make it again."
LOOK = 60
"""Seconds between two looks."""
LOST = 300.0
"""Seconds after which what nobody has in hand was lost, and does not wait to be read."""
WAITING = {"vm_state": vm_states.BUILDING, "host": None, "deleted": False}
"""As nova looks for servers that are made and have no host yet."""


class Interrupted(exception.NovaException):  # type: ignore[misc]
    msg_fmt = "The compute service of %(host)s ended in the middle of %(what)s. %(cure)s"


class NotStarted(exception.NovaException):  # type: ignore[misc]
    msg_fmt = (
        "The compute service of %(host)s could not start it again; its log says why. "
        "Reboot it hard, or ask who runs the cloud."
    )


class Lost(exception.NovaException):  # type: ignore[misc]
    msg_fmt = (
        "The request to make the server was lost when a service ended. Delete it and make it again."
    )


class Seen:
    """Since when each of some things is seen, by one who looks again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def longer(self, seconds: float, now: Iterable[str]) -> set[str]:
        """Of those seen ``now`` the ones that were there at each look for so many seconds."""
        at = self._clock()
        self._since = {one: self._since.get(one, at) for one in now}
        return {one for one, since in self._since.items() if at - since >= seconds}


def each_minute(work: Callable[..., None], *given: Any) -> Any:
    """A periodic task of upstream's kind, which calls ``work`` with its manager and context."""

    def task(self: Any, context: Any) -> None:
        work(self, context, *given)

    task.__name__ = work.__name__
    return periodic_task.periodic_task(spacing=LOOK)(task)


def explain(context: Any, instance: Any, reason: Exception) -> None:
    """``openstack server show`` has it as the fault."""
    try:
        compute_utils.add_instance_fault_from_exc(context, instance, reason)
    except exception.InstanceNotFound:
        LOG.debug("It was deleted meanwhile.", instance=instance)


def end_at_the_compute(service: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Of the compute manager ``service``, before it starts."""
    begin, build = service._init_instance, service.build_and_run_instance
    unclaimed = Unclaimed(clock)

    @functools.wraps(begin)
    def init_instance(context: Any, instance: Any) -> None:
        state, task = instance.vm_state, instance.task_state
        if state == vm_states.BUILDING:
            # Always in error by what comes: a kill in between must not keep the reason back.
            told = Interrupted(host=service.host, what=task or state, cure=AGAIN)
            explain(context, instance, told)
        begin(context, instance)
        if instance.vm_state == vm_states.ERROR and state not in (
            vm_states.ERROR,
            vm_states.BUILDING,
        ):
            if task:
                told = Interrupted(host=service.host, what=task, cure="Do that again.")
            else:
                told = NotStarted(host=service.host)
            explain(context, instance, told)

    @functools.wraps(build)
    def build_and_run_instance(context: Any, instance: Any, *more: Any, **named: Any) -> Any:
        unclaimed.accept(instance.uuid)
        return build(context, instance, *more, **named)

    def nothing(*arguments: Any) -> None:
        """Their messages may be in the queue, which is read next."""

    service._init_instance = init_instance
    service.build_and_run_instance = build_and_run_instance
    service._error_out_instances_whose_build_was_interrupted = nothing
    service.add_periodic_task(each_minute(end_unclaimed, unclaimed))


class Unclaimed:
    """Servers that were given to this host, of whose making no message has told it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._accepted: set[str] = set()
        self._seen = Seen(clock)

    def accept(self, identity: str) -> None:
        """Its message was heard. It may wait for others that are made."""
        self._accepted.add(identity)

    def accepted(self, identity: str) -> bool:
        return identity in self._accepted

    def lost(self, service: Any, context: Any) -> list[Any]:
        """Those that wait for it too long, as of now."""
        before = set(self._accepted)
        listed = objects.InstanceList.get_by_filters(context, WAITING, expected_attrs=[])
        found = {instance.uuid: instance for instance in listed}
        self._accepted -= before - set(found)
        ours = set(found) - self._accepted
        if ours:
            ours &= _allocated(service, context)
        return [found[identity] for identity in self._seen.longer(LOST, ours)]


def end_unclaimed(service: Any, context: Any, unclaimed: Unclaimed) -> None:
    for instance in unclaimed.lost(service, context):
        if not unclaimed.accepted(instance.uuid):
            LOG.warning("The message that makes it was lost.", instance=instance)
            explain(context, instance, Lost())
            service._set_instance_obj_error_state(instance, clean_task_state=True)


def _allocated(service: Any, context: Any) -> set[str]:
    """Who has something of this host's."""
    nodes = service.rt.compute_nodes.values()
    asked = service.reportclient.get_allocations_for_resource_provider
    try:
        return {identity for node in nodes for identity in asked(context, node.uuid).allocations}
    except (exception.ResourceProviderAllocationRetrievalFailed, ClientException) as error:
        LOG.warning("Servers whose making was lost are not looked for: %s", error)
        return set()
