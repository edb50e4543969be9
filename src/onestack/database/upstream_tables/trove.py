"""Trove's tables, as of 26.0.0: which databases it offers, and which there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onestack.database.passing import Passing

if TYPE_CHECKING:
    from onestack.database.server import Server

DATABASE = "trove"

TASKS = {
    2: "DELETING",
    3: "REBOOTING",
    4: "RESIZING",
    6: "MIGRATING",
    8: "PROMOTING",
    9: "EJECTING",
    10: "LOGGING",
    11: "DETACHING",
    12: "UPDATING",
    89: "UPGRADING",
}
"""What may be done to an instance, by ``task_id``. Of one that is made its status tells."""
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
        " IF(LOWER(i.task_description) LIKE '%error%', i.task_description, ''),"
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


def in_passing(server: Server) -> list[Passing]:
    """Instances that something is done to, and backups that are made."""
    since = "TIMESTAMPDIFF(SECOND, COALESCE(updated, created), UTC_TIMESTAMP())"
    numbers = ", ".join(map(str, TASKS))
    tasks = server.query(
        f"SELECT id, name, task_id, {since} FROM instances"
        f" WHERE deleted = 0 AND task_id IN ({numbers})",
        (),
        DATABASE,
    )
    backups = server.query(
        f"SELECT id, name, state, {since} FROM backups"
        " WHERE deleted = 0 AND state IN ('NEW', 'BUILDING', 'SAVING')",
        (),
        DATABASE,
    )
    states = [("database instance", i, name, TASKS[task], age) for i, name, task, age in tasks]
    states += [("database backup", *row) for row in backups]
    return [
        Passing(kind, str(identity), str(name), str(state), int(age or 0))
        for kind, identity, name, state, age in states
    ]
