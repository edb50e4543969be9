"""What lines of trove's log most likely mean."""

from __future__ import annotations

from onestack.components import openstack
from onestack.model.declarations import KnownError

KNOWN_ERRORS = (
    openstack.denied("trove"),
    KnownError(
        "guestagent error|guestagent timeout|FAILED_TIMEOUT_GUESTAGENT",
        "a guest was made, and its agent did not come, or not in time",
        "`onestack doctor` says how far it came; delete the instance and make it again",
    ),
    KnownError(
        "Read timed out",
        "a guest is too slow: its container engine did not answer in time",
        "let the machine have less to do, or a processor that guests can use (KVM), and repeat it",
    ),
    KnownError(
        "Timeout calling",
        "a guest's agent did not answer in time",
        "see `openstack database instance show INSTANCE`; an agent that is gone for good comes "
        "back with `openstack database instance reboot INSTANCE`",
    ),
    KnownError(
        "Quota exceeded for resources|VolumeQuotaExceeded|QuotaExceeded",
        "the project has as many databases, or GiB for them, as it may have",
        "`openstack database quota show PROJECT` has its limits, and `openstack database quota "
        "update PROJECT RESOURCE LIMIT` another one",
    ),
    KnownError(
        "Flavor's disk is too small|Flavor's memory is too small|FlavorDiskSmallerThanMinDisk"
        "|FlavorMemoryTooSmall",
        "the flavor is too small for a database's guest",
        "use db.small, or one with as much",
    ),
    KnownError(
        "was interrupted",
        "the service ended in the middle of that",
        "what is in ERROR can be deleted, and a backup that FAILED made again",
    ),
    KnownError(
        "a message (?:without a sender|that|with two senders|whose|of a guest)"
        "|the guest [-0-9a-f]+ speaks of another|a guest tells of",
        "a message on the bus was refused: it was not from whom it said",
        "only guests' agents can send any there; if it goes on, find the guest (`openstack "
        "database instance list`) and delete it",
    ),
    KnownError(
        "Swift is disabled for tenant",
        "there is no place for backups",
        "switch the object store on: onestack up --set CONFIG_SWIFT_INSTALL=y",
    ),
)
