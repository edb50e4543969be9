"""States that volumes, snapshots and backups pass, and how one is settled that stays in its own.

When they start, cinder's processes see to some of them. Of the others nobody knows any more.
What may have content is never to be deleted for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.passing import Passing

LONG = frozenset(
    (
        *("creating", "downloading", "uploading", "backing-up", "restoring-backup", "restoring"),
        "retyping",
    )
)
"""In these a volume's content is copied."""
_EMPTY = frozenset(("creating", "deleting", "downloading"))
"""What is in these has no content yet, or is to have none."""
_SETTLED_AT_START = _EMPTY | {"backing-up", "restoring", "restoring-backup", "uploading"}


def cure(thing: Passing) -> str:
    restart = "onestack restart cinder, which ends or undoes what was interrupted; else "
    settle = restart if thing.state in _SETTLED_AT_START else ""
    become = f"openstack {thing.kind} set --state"
    if thing.state in _EMPTY:
        return f"{settle}{become} error {thing.identity}, then delete it"
    if thing.kind != "volume":
        return f"{settle}{become} available {thing.identity}"
    again = ". Half of its content is the backup's: restore it again"
    return (
        f"{settle}{become} in-use {thing.identity}; that is refused where it is attached to "
        f"nothing, and then {become} available {thing.identity}"
        + (again if thing.state == "restoring-backup" else "")
    )
