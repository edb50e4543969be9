"""What lines of swift's logs most likely mean."""

from __future__ import annotations

from onestack.model.declarations import KnownError

KNOWN_ERRORS = (
    KnownError(
        r"Insufficient Storage|507 response|for \[507",
        "the object store is full, or one of its disks is not mounted",
        "see `onestack shell -- sh -c 'df -h {data}/swift/srv/*'`: delete objects, or choose a "
        "larger CONFIG_SWIFT_STORAGE_SIZE, or more CONFIG_SWIFT_STORAGES, and run up again; "
        "`onestack restart swift` mounts",
    ),
    KnownError(
        "not mounted|responded as unmounted|enough handoff|out of handoffs",
        "a disk of the object store is not mounted",
        "`onestack restart swift` mounts it",
    ),
    KnownError(
        "No space left on device",
        "the object store is full, or the machine's disk under it",
        "`df -h {data}` and `onestack shell -- df -h {data}/swift/srv`",
    ),
    KnownError(
        "Unable to validate token|Identity server rejected authorization",
        "swift's password in keystone is not the one in its file",
        "run up again",
    ),
    KnownError(
        r"\.ring\.gz|RingLoadError",
        "a ring is missing or damaged",
        "run up again, which makes them",
    ),
    KnownError(
        "ECONNREFUSED|Connection refused",
        "a storage server does not answer",
        "look at `onestack logs swift-storage`",
    ),
)
