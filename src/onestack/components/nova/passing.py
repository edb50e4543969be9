"""States that servers pass, and how one is settled that stays in its own.

When it starts, nova-compute sees to most of them. What may have content is never to be deleted
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
_IN_AN_IMAGE = frozenset(("shelving_offloading", "unshelving"))
"""Disks are on their way to where they are not, or from there: the image has all of them."""


def cure(server: Passing, disks: Path) -> str:
    """``disks`` has a directory for each server."""
    settle = "onestack restart nova/nova-compute, which ends or undoes what was interrupted; else "
    become = "openstack server set --state"
    if server.state in _EMPTY:
        return f"{settle}{become} error {server.identity}, then delete it"
    if server.state in _IN_AN_IMAGE:
        return (
            f"{settle}make another of its image (openstack image list --name "
            f"{server.name}-shelved) before you delete it, which removes the image, too"
        )
    started = (
        f"{become} active {server.identity}, and where it does not run "
        f"openstack server reboot --hard {server.identity}"
    )
    if server.state.startswith("resize_"):
        # A start makes new disks where it finds none.
        return f"{settle}copy its disks first ({disks / server.identity}*), then {started}"
    return f"{settle}{started}"
