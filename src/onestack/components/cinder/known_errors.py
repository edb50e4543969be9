"""What lines of cinder's logs most likely mean."""

from __future__ import annotations

from onestack.components import openstack
from onestack.model.declarations import KnownError

KNOWN_ERRORS = (
    KnownError(
        "is not mounted on",
        "the volume pool is not mounted",
        "`onestack restart cinder` mounts it, and `onestack logs cinder-volume` says why if it "
        "cannot",
    ),
    KnownError(
        "Insufficient free space for volume creation|No weighed backends available"
        "|Could not find any available weighted backend|GiB are wanted",
        "the volume pool has no room for that: volumes and snapshots count with their full size",
        "see `onestack pool show`; delete some, or `onestack pool grow +10G`",
    ),
    KnownError(
        "Insufficient Storage",
        "the object store, where backups go, is full",
        "delete backups or objects, or choose a larger CONFIG_SWIFT_STORAGE_SIZE and run up again",
    ),
    KnownError(
        "cannot share blocks between files",
        "the volume pool lies on a filesystem without reflinks",
        "make loop devices and XFS available, or put the cloud's root on XFS or btrfs",
    ),
    KnownError(
        "for image conversion|No space left on device",
        "the disk of {data} is full",
        "make room: `df -h {data}`",
    ),
    openstack.denied("cinder"),
    KnownError(
        "doesn't fit in a volume of size",
        "the image is larger than the volume asked for",
        "ask for a larger one",
    ),
)
