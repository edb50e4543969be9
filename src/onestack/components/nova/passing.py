"""States that servers pass, and how one is settled that stays in its own.

When it starts, nova-compute sees to some of them. What may have content is never to be deleted
for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.database.passing import Passing

LONG = frozenset(
    (
        *("block_device_mapping", "building", "scheduling", "spawning", "rebuild_spawning"),
        *("image_pending_upload", "image_uploading", "image_snapshot", "image_backup"),
        *("migrating", "resize_migrating", "shelving_image_uploading", "shelving_offloading"),
        "unshelving",
    )
)
"""In these images or disks are copied."""
_EMPTY = frozenset(
    (
        *("block_device_mapping", "building", "networking", "scheduling", "spawning"),
        *("deleting", "soft-deleting"),
    )
)
"""What is in these has no content yet, or is to have none."""
_OFFLOADED = frozenset(("shelving_offloading", "unshelving"))
"""Disks are on their way to where they are not, or from there: they are in an image, or volumes."""
_SETTLED_AT_START = frozenset(
    (
        *("block_device_mapping", "building", "deleting", "networking", "scheduling", "spawning"),
        *("image_pending_upload", "image_snapshot", "image_snapshot_pending", "image_uploading"),
        *("rebuild_block_device_mapping", "rebuild_spawning", "rebuilding"),
        *("reboot_pending", "reboot_pending_hard", "reboot_started", "reboot_started_hard"),
        *("rebooting", "rebooting_hard", "pausing", "unpausing", "powering-off", "powering-on"),
        *("migrating", "resize_migrating", "resize_prep"),
    )
)


def cure(server: Passing, disks: Path) -> str:
    """``disks`` has a directory for each server."""
    restart = "onestack restart nova/nova-compute, which ends or undoes what was interrupted; else "
    settle = restart if server.state in _SETTLED_AT_START else ""
    become = "openstack server set --state"
    if server.state in _EMPTY:
        return f"{settle}{become} error {server.identity}, then delete it"
    if server.state in _OFFLOADED:
        # One whose root is a volume has no image; its volumes may be such that go with it.
        return (
            f"keep its volumes (openstack server volume set --preserve-on-termination "
            f"{server.identity} VOLUME) and make another of its image (openstack image list "
            f"--name {server.name}-shelved), which goes with it; then delete it, and where it has "
            "no image make another of its volume"
        )
    started = (
        f"{become} active {server.identity}, and where it does not run "
        f"openstack server reboot --hard {server.identity}"
    )
    if server.state.startswith("resize_"):
        # A start makes new disks where it finds none.
        copy = f"copy its disks first ({disks / server.identity}*, on each host that has them)"
        return f"{settle}{copy}, then {started}"
    return f"{settle}{started}"
