"""Why something could not be done, for users to read (services' environment).

Upstream keeps a message for some reasons, such as an image that is too large, and of many others
one that says nothing: that the driver failed, or that no back-end was found. Here is told what
was wanted, what there is, and what helps (`onestack.components.cinder.inside.refusals`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from cinder import exception
from cinder.message import api, message_field
from cinder.message.message_field import Action, Detail, Resource
from cinder.objects import fields
from oslo_utils import excutils

from onestack.components.cinder.inside.refusals import (
    ACTIONS,
    ALL,
    MIGRATE,
    NO_BACKEND,
    NO_PLACE,
    NO_ROOM_THERE,
    NOT_COPIED,
    NOT_TURNED,
    RETYPE,
    UNACCEPTABLE,
    Reason,
    Refused,
    figures_in,
    with_figures,
)


def know() -> None:
    """Let messages with these reasons be read: whoever serves the API wants that too."""
    Detail.ALL = (*message_field.Detail.ALL, *((r.number, r.text) for r in ALL))
    Action.ALL = (*message_field.Action.ALL, *ACTIONS)


def read_figures() -> None:
    """Let the API put a message's figures into its text."""
    from cinder.api.v3 import messages

    build = messages.MessagesController._build_user_message

    @functools.wraps(build)
    def with_its_figures(self: Any, message: Any) -> None:
        build(self, message)
        if message is not None and message["event_id"]:
            _, figures = figures_in(message["event_id"])
            if figures:
                message["user_message"] = message["user_message"].format_map(figures)

    messages.MessagesController._build_user_message = with_its_figures


COPY = "target:"
"""The state of a migration's copy begins so; the rest is the volume's id."""
_OURS = frozenset(reason.number for reason in ALL)


class _Figures:
    """The database as a message is written to it: with figures, and for whose thing it is of."""

    def __init__(self, database: Any, project: str | None, figures: dict[str, Any]) -> None:
        self._database = database
        self._project = project
        self._figures = figures

    def message_create(self, context: Any, record: dict[str, Any]) -> Any:
        event = with_figures(record["event_id"], self._figures)
        project = self._project or record["project_id"]
        return self._database.message_create(
            context, {**record, "event_id": event, "project_id": project}
        )


def say(
    context: Any,
    action: tuple[str, str],
    identity: str,
    reason: Reason,
    *,
    project: str | None = None,
    resource: str = Resource.VOLUME,
    **figures: Any,
) -> None:
    """Keep the message that ``action`` failed for ``reason``, for ``project`` to read."""
    teller = api.API()
    teller.db = _Figures(teller.db, project, figures)
    detail = (reason.number, reason.text)
    teller.create(context, action, resource, identity, detail=detail)


def told(action: tuple[str, str], resource: str = Resource.VOLUME) -> Callable[[Any], Any]:
    """For a driver's methods: whoever has the thing they are given is told why one refused."""

    def of(method: Any) -> Any:
        @functools.wraps(method)
        def telling(self: Any, thing: Any, *arguments: Any, **more: Any) -> Any:
            try:
                return method(self, thing, *arguments, **more)
            except Refused as problem:
                with excutils.save_and_reraise_exception():
                    tell(thing, action, problem, resource)

        return telling

    return of


def tell(
    thing: Any, action: tuple[str, str], problem: Refused, resource: str = Resource.VOLUME
) -> None:
    """Of a volume, a snapshot or a backup, as cinder's objects are.

    Of a migration's copy users know nothing: they are told of the volume that is to move.
    """
    project, figures, identity = thing.project_id, problem.figures, thing.id
    mark = str(getattr(thing, "migration_status", None) or "")
    if mark.startswith(COPY):
        action, identity = MIGRATE, mark.removeprefix(COPY)
    say(
        thing.obj_context,
        action,
        identity,
        problem.reason,
        project=project,
        resource=resource,
        **figures,
    )
    problem.told = True


def tell_once() -> None:
    """Upstream's own message is left out where a better one has been kept."""
    create = api.API.create

    @functools.wraps(create)
    def unless_told(self: Any, *arguments: Any, **more: Any) -> Any:
        if _was_told(more.get("exception")) or _was_told(sys.exc_info()[1]):
            return None
        return create(self, *arguments, **more)

    api.API.create = unless_told


def _was_told(problem: BaseException | None) -> bool:
    """Also where upstream has made another of it."""
    while problem is not None:
        if isinstance(problem, Refused):
            return problem.told
        problem = problem.__context__
    return False


def tell_of_places(scheduler: Any) -> None:
    """What the ``scheduler``'s manager finds no back-end for: how much that is, and what is free.

    Upstream's message says that none was found; of a snapshot there is none.
    """
    create = api.API.create
    grow, shoot = scheduler.extend_volume, scheduler.create_snapshot
    growing: dict[str, tuple[int, str]] = {}
    """More GiB, and where."""

    def no_place(
        context: Any,
        action: Any,
        identity: str,
        size: int,
        host: str | None = None,
        resource: str = Resource.VOLUME,
    ) -> None:
        rooms = _rooms(scheduler, host)
        if not rooms:
            say(context, action, identity, NO_BACKEND, resource=resource)
        else:
            reason, free = (NO_ROOM_THERE if host else NO_PLACE), round(max(rooms), 2)
            say(context, action, identity, reason, resource=resource, wanted=size, free=free)

    @functools.wraps(grow)
    def extend_volume(context: Any, volume: Any, new_size: int, *rest: Any, **more: Any) -> Any:
        growing[volume.id] = (new_size - volume.size, volume.host)
        try:
            return grow(context, volume, new_size, *rest, **more)
        finally:
            del growing[volume.id]

    @functools.wraps(shoot)
    def create_snapshot(ctxt: Any, volume: Any, snapshot: Any, *rest: Any, **more: Any) -> Any:
        done = shoot(ctxt, volume, snapshot, *rest, **more)
        if snapshot.status == fields.SnapshotStatus.ERROR:
            where = (volume.size, volume.host, Resource.VOLUME_SNAPSHOT)
            no_place(ctxt, Action.SNAPSHOT_CREATE, snapshot.id, *where)
        return done

    @functools.wraps(create)
    def with_room(self: Any, context: Any, action: Any, *arguments: Any, **more: Any) -> Any:
        problem, identity = more.get("exception"), more.get("resource_uuid")
        of_room = action in (Action.SCHEDULE_ALLOCATE_VOLUME, Action.EXTEND_VOLUME)
        if not isinstance(problem, exception.NoValidBackend) or not of_room or not identity:
            return create(self, context, action, *arguments, **more)
        if identity in growing:
            return no_place(context, action, identity, *growing[identity])
        kept = self.db.message_get_all(context, filters={"resource_uuid": identity})
        if any(message["detail_id"] in _OURS for message in kept):
            # A back-end was found, and refused: it has told why.
            return None
        size = self.db.volume_get(context.elevated(), identity)["size"]
        return no_place(context, action, identity, size)

    scheduler.extend_volume = extend_volume
    scheduler.create_snapshot = create_snapshot
    api.API.create = with_room


def _rooms(scheduler: Any, host: str | None) -> list[float]:
    """Free GiB of all places that say so, or of the one that a volume's ``host`` names."""
    states = scheduler.driver.host_manager.backend_state_map
    rooms = {
        f"{backend}#{name}": pool.free_capacity_gb
        for backend, state in states.items()
        for name, pool in state.pools.items()
    }
    chosen = rooms.values() if host is None else [rooms.get(host)]
    return [float(room) for room in chosen if isinstance(room, int | float)]


def tell_of_retypes() -> None:
    """A volume that is to be encrypted, or not to be any more, is left as it is, with a message.

    Upstream would copy it through a device of the kernel's, which wants root and device-mapper,
    and which has no room for a volume's last 2 MiB. What two types have in
    common of their encryption it takes for a change.
    """
    from cinder.volume import manager, volume_types

    change, compare = manager.VolumeManager.retype, volume_types.volume_types_diff

    @functools.wraps(compare)
    def volume_types_diff(context: Any, one: str, other: str) -> tuple[dict[str, Any], bool]:
        found, equal = compare(context, one, other)
        if not volume_types.volume_types_encryption_changed(context, one, other):
            found["encryption"] = {}
        return found, equal

    @functools.wraps(change)
    def retype(
        self: Any,
        context: Any,
        volume: Any,
        new_type_id: str,
        host: Any,
        migration_policy: str = "never",
        **more: Any,
    ) -> Any:
        if volume_types.volume_types_encryption_changed(
            context.elevated(), volume.volume_type_id, new_type_id
        ):
            say(context, RETYPE, volume.id, NOT_TURNED, project=volume.project_id)
            # It wants a copy, and none is allowed: upstream then gives all back as it was.
            migration_policy = "never"
        return change(self, context, volume, new_type_id, host, migration_policy, **more)

    manager.VolumeManager.retype = retype
    volume_types.volume_types_diff = volume_types_diff


def tell_of_images() -> None:
    from cinder.volume.flows.manager.create_volume import CreateVolumeFromSpecTask

    know()
    of_image = CreateVolumeFromSpecTask._create_from_image

    @functools.wraps(of_image)
    def create_from_image(self: Any, context: Any, volume: Any, *image: Any, **more: Any) -> Any:
        def keep(reason: Reason) -> None:
            self.message.create(
                context,
                Action.COPY_IMAGE_TO_VOLUME,
                resource_uuid=volume.id,
                detail=(reason.number, reason.text),
            )

        try:
            return of_image(self, context, volume, *image, **more)
        except exception.ImageUnacceptable:
            with excutils.save_and_reraise_exception():
                keep(UNACCEPTABLE)
        except (exception.ImageCopyFailure, exception.ImageDownloadFailed, exception.ImageNotFound):
            with excutils.save_and_reraise_exception():
                keep(NOT_COPIED)

    CreateVolumeFromSpecTask._create_from_image = create_from_image
