"""What lines of sahara's log most likely mean."""

from __future__ import annotations

from onestack.components import openstack
from onestack.model.declarations import KnownError

KNOWN_ERRORS = (
    openstack.denied("sahara"),
    KnownError(
        "QuotaException|Quota exceeded for",
        "the project may not have as many machines, addresses or volumes as a cluster has",
        "`openstack quota show PROJECT` has its limits; the cluster is in Error under its name, "
        "and can be deleted",
    ),
    KnownError(
        '"wait_until_accessible" option|Can\'t login to node',
        "a cluster's machine does not answer by ssh",
        "`onestack doctor` says how far it came: it needs a floating IP that this machine "
        "reaches (CONFIG_ONESTACK_EXTERNAL_ADDRESS), and an image with ssh and its user in "
        "_sahara_username",
    ),
    KnownError(
        "Unable to create trust|Failed to create trust",
        "keystone did not let the cluster's owner trust sahara with it",
        "an application credential may not: log in with a password",
    ),
    KnownError(
        "Heat stack failed with status",
        "a machine, a port or a volume of a cluster could not be made",
        "`onestack doctor` has the reason, which the client does not show; delete the "
        "cluster, and make it again",
    ),
    KnownError(
        "was interrupted|the service ended in the middle of it",
        "the service ended in the middle of that, and its next start settled it",
        "`onestack doctor` names the clusters: one in Error can be deleted, one that is Active "
        "scaled again; a job that FAILED can be run again",
    ),
    KnownError(
        "The parent of ssh sessions has ended",
        "something ended it, and the service with it; a start settles what it was at",
        "see `dmesg` for a machine without memory",
    ),
)
