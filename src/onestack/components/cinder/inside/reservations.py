"""Quota that is held for work on a volume, known by the volume.

Cinder hands it from message to message. Of a service that is killed nobody would know of it any
more, and it would be held for a day.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from cinder import context as contexts
from cinder import exception, quota
from cinder.db import api as database

_KEY = "onestack_reservations"


@contextlib.contextmanager
def held(volume: Any, *reservations: list[str] | None) -> Iterator[None]:
    """They stand in the volume's record while it is worked on."""
    noted = {_KEY: ",".join(_all(reservations))}
    admin = contexts.get_admin_context()
    database.volume_admin_metadata_update(admin, volume.id, noted, delete=False)
    try:
        yield
    finally:
        with contextlib.suppress(exception.VolumeNotFound):  # deleted by force
            database.volume_admin_metadata_delete(admin, volume.id, _KEY)


def give_back(volume: Any) -> None:
    """Those of work that was killed; what was used up by then stays so."""
    admin = contexts.get_admin_context()
    noted = database.volume_admin_metadata_get(admin, volume.id).get(_KEY)
    if noted:
        roll_back(volume, noted.split(","))
    if noted is not None:
        database.volume_admin_metadata_delete(admin, volume.id, _KEY)


def roll_back(volume: Any, *reservations: list[str] | None) -> None:
    admin = contexts.get_admin_context()
    if ids := _all(reservations):
        quota.QUOTAS.rollback(admin, ids, project_id=volume.project_id)


def _all(reservations: Iterable[list[str] | None]) -> list[str]:
    return [identity for own in reservations for identity in own or ()]
