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
        "Volume [Gg]roup .* does not exist|Volume group .* not found|Cannot process volume group",
        "the volume group is not there: its loop files or disks are missing, or it was removed",
        "`onestack restart cinder` attaches it again, and `onestack logs cinder-volume` says why "
        "if it cannot",
    ),
    KnownError(
        "while PVs are missing|is missing PV",
        "a disk or a loop file of the volume group is missing",
        "`onestack pool show` tells which there are; connect the other, then `onestack restart "
        "cinder`",
    ),
    KnownError(
        "Insufficient free space for volume creation|GiB are wanted",
        "the volume pool has no room for that: volumes and snapshots count with their full size",
        "see `onestack pool show`; delete some, or `onestack pool grow +10G`",
    ),
    KnownError(
        "No weighed backends available|Could not find any available weighted backend",
        "no back-end takes the volume: the pool has no room for it, or its type asks for what "
        "none has",
        "`onestack pool show` tells the room, and `onestack pool grow +10G` makes more; "
        "`openstack volume type show TYPE` tells what is asked for, and the line before it in "
        '{log}/cinder-api.log ("Filter results") which filter left no back-end',
    ),
    KnownError(
        r"Image [-0-9a-f]+ is unacceptable|[Ii]mage.*ImageUnacceptable",
        "the image is no disk of the format that it is said to have, or refers to another file",
        "see what it is (`qemu-img info FILE`), and upload it with that --disk-format",
    ),
    KnownError(
        "The key of volume .* could not be had|Key manager error",
        "the key manager did not give, or not keep, an encrypted volume's key",
        "`onestack status` tells whether Barbican runs; only members of a project get its keys",
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
