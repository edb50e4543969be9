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
_SETTLED_AT_START = {
    "volume": _EMPTY | {"backing-up", "restoring-backup", "uploading"},
    "volume snapshot": frozenset(("backing-up", "creating")),
    "volume backup": frozenset(("creating", "deleting", "restoring")),
}
"""By upstream itself."""
_SETTLED_BY_OURS = {
    "volume": frozenset(("retyping", "unmanaging")),
    "volume snapshot": frozenset(("deleting", "restoring", "unmanaging")),
}
"""Then too, of any back-end (`onestack.components.cinder.inside.unfinished`)."""
_SETTLED_IN_THE_POOL = {"volume": frozenset(("extending", "managing", "reverting"))}
"""By its own driver (`onestack.components.cinder.inside.interrupted`), and by no other."""


def cure(thing: Passing) -> str:
    settle = ""
    at_start = _SETTLED_AT_START[thing.kind] | _SETTLED_BY_OURS.get(thing.kind, frozenset())
    if thing.state in at_start:
        settle = "onestack restart cinder, which ends or undoes what was interrupted; else "
    elif thing.state in _SETTLED_IN_THE_POOL.get(thing.kind, ()):
        settle = "onestack restart cinder, which ends or undoes it in onestack's own pool; else "
    become = f"openstack {thing.kind} set"
    if thing.state in _EMPTY:
        if thing.kind == "volume backup":
            # Its state cannot be set before a process has begun it.
            return f"{settle}openstack volume backup delete --force {thing.identity}"
        return f"{settle}{become} --state error {thing.identity}, then delete it"
    if thing.state in ("managing", "unmanaging"):
        command = "cinder unmanage" if thing.kind == "volume" else "cinder snapshot-unmanage"
        return f"{settle}{become} --state error {thing.identity}, then {command} {thing.identity}"
    if thing.kind != "volume":
        return f"{settle}{become} --state available {thing.identity}"
    if thing.state == "attaching":
        # Cinder has noted the server already: whether that has it is another question.
        return (
            f"openstack volume attachment list --all-projects --volume-id {thing.identity} names "
            "a server: where openstack server volume list SERVER has it, "
            f"{become} --attached --state in-use {thing.identity}; else "
            f"{become} --detached --state available {thing.identity}"
        )
    again = ". Half of its content is the backup's: restore it again"
    return (
        f"{settle}{become} --state in-use {thing.identity}; that is refused where it is attached "
        f"to nothing, and then {become} --state available {thing.identity}"
        + (again if thing.state == "restoring-backup" else "")
    )
