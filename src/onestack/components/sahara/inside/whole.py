"""A cluster that was made whole is never in Error (sahara's environment).

From there no way leads back to what is on it: it can only be deleted. Upstream leaves one Active
where its scaling fails, but for what comes before: its image is asked for, and its owner's trust.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sahara import conductor, context
from sahara.service import ops
from sahara.utils import cluster as clusters

STATES = (clusters.CLUSTER_STATUS_DECOMMISSIONING, "Scaling", "Rollback")
"""How those begin in which only such a cluster is."""
SCALED = "scale cluster"
"""In the kind of a step that only such a one comes to."""


def is_whole(cluster: Any) -> bool:
    """Whatever is being done with it now."""
    if cluster.status == clusters.CLUSTER_STATUS_VALIDATING:
        # One that is to be made has neither.
        return bool(cluster.provision_progress or clusters.get_instances(cluster))
    return cluster.status.startswith(STATES) or any(
        SCALED in (step.step_type or "") for step in cluster.provision_progress
    )


def keep(cluster: Any) -> None:
    """As it is: to go back asks each machine by ssh, and after a reboot none may answer yet."""
    conductor.API.cluster_update(context.ctx(), cluster, {"rollback_info": {}})
    clusters.clean_cluster_from_empty_ng(cluster)


def rollback(upstream: Callable[[Any, Any], bool], cluster: Any, reason: Any) -> bool:
    """Whether the cluster is Active after what went wrong."""
    if not is_whole(cluster):
        return upstream(cluster, reason)
    keep(cluster)
    return True


def mend() -> None:
    ops._rollback_cluster = functools.partial(rollback, ops._rollback_cluster)


mend()
