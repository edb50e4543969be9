"""Trove's tables, as of 26.0.0: which databases it offers, and which there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "trove"

Registered = tuple[str, str, str, str]
"""A datastore's name, a version of it, that one's manager, and the id of its image."""


@dataclass(frozen=True)
class InstanceRow:
    """One that is not deleted. ``server`` is nova's id, empty while it has none."""

    identity: str
    name: str
    server: str
    error: str
    """What went wrong with it, as trove says; empty where nothing did."""
    status: str
    """What its agent last said, or trove for it: ``new`` before that, ``building`` meanwhile."""
    age: int
    """Seconds since it was asked for, and ``silent`` since something was last heard of it."""
    silent: int


def registered(server: Server) -> set[Registered]:
    """Active versions of datastores that have a default: what people can choose."""
    rows = server.query(
        "SELECT d.name, v.version, v.manager, v.image_id FROM datastores d"
        " JOIN datastore_versions v ON v.datastore_id = d.id"
        " WHERE v.active = 1 AND d.default_version_id IS NOT NULL AND v.image_id IS NOT NULL"
        " AND COALESCE(v.image_tags, '') = ''",
        (),
        DATABASE,
    )
    return {
        (str(name), str(version), str(manager), str(image))
        for name, version, manager, image in rows
    }


def instances(server: Server) -> list[InstanceRow]:
    """All that there are, of everybody."""
    rows = server.query(
        "SELECT i.id, i.name, COALESCE(i.compute_instance_id, ''),"
        " IF(LOWER(i.task_description) LIKE '%%error%%', i.task_description, ''),"
        " COALESCE(s.status_description, ''),"
        " TIMESTAMPDIFF(SECOND, i.created, UTC_TIMESTAMP()),"
        " TIMESTAMPDIFF(SECOND, COALESCE(s.updated_at, i.created), UTC_TIMESTAMP())"
        " FROM instances i JOIN service_statuses s ON s.instance_id = i.id"
        " WHERE i.deleted = 0 ORDER BY i.created",
        (),
        DATABASE,
    )
    return [
        InstanceRow(str(i), str(name), str(nova), str(error), str(status), int(age), int(silent))
        for i, name, nova, error, status, age, silent in rows
    ]
