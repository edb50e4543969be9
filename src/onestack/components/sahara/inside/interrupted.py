"""What an earlier process had begun and not finished (sahara's environment).

The engine works for minutes on what a client was promised in a moment. What it leaves undone
when it ends, upstream keeps for ever as it is. This process is the only one that works, so what it
finds begun at its start is nobody's: it is brought to an end as upstream does after an error.
A cluster that was being made loses its machines and is in Error; one that was being scaled
goes back to what it had and is Active; one that was being deleted is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sahara import conductor, context
from sahara.service import ops, trusts
from sahara.service.edp import job_manager
from sahara.utils import cluster as clusters
from sahara.utils import edp

LOG = logging.getLogger("onestack.sahara")
SETTLED = (clusters.CLUSTER_STATUS_ACTIVE, clusters.CLUSTER_STATUS_ERROR)
LEAVING = (clusters.CLUSTER_STATUS_DELETING, clusters.CLUSTER_STATUS_AWAITINGTERMINATION)
SCALED = "scale cluster"
"""In the kind of a step that only a cluster comes to which was made whole."""


class CutShort(Exception):
    """What upstream is told went wrong."""


def settle() -> None:
    """Before anything is asked of this process; what takes long goes on beside it."""
    context.set_ctx(context.get_admin_context())
    try:
        for cluster in conductor.API.cluster_get_all(context.ctx()):
            if cluster.status not in SETTLED:
                LOG.warning("The cluster %s was interrupted in %s", cluster.id, cluster.status)
                context.spawn(f"settle {cluster.id}", _alone, _settle_cluster, cluster)
        for execution in conductor.API.job_execution_get_all(context.ctx(), end_time=None):
            if not execution.engine_job_id:
                LOG.warning("The job %s was interrupted before it ran", execution.id)
                context.spawn(f"settle {execution.id}", _alone, _fail_job, execution)
    finally:
        context.set_ctx(None)


def _alone(work: Callable[[Any], None], item: Any) -> None:
    """What fails of one is told, and is nothing to the others."""
    try:
        work(item)
    except Exception:
        LOG.exception("%s was interrupted, and is left as it is", item.id)


def _settle_cluster(cluster: Any) -> None:
    context.set_current_cluster_id(cluster.id)
    # As its owner, who trusted sahara with it: its machines are in that one's project.
    trusts.use_os_admin_auth_token(cluster)
    if cluster.status in LEAVING:
        ops.terminate_cluster(cluster.id)
    elif cluster.rollback_info or not _was_whole(cluster):
        _end(cluster.id)
    else:
        told = "it was interrupted while it was scaled: see what it has, and scale it again"
        clusters.change_cluster_status(cluster, clusters.CLUSTER_STATUS_ACTIVE, told)


def _was_whole(cluster: Any) -> bool:
    return any(SCALED in (step.step_type or "") for step in cluster.provision_progress)


@ops.ops_error_handler("{reason}")  # type: ignore[untyped-decorator]
def _end(cluster_id: str) -> None:
    raise CutShort(
        "the service ended in the middle of it: what is in Error can be deleted, what is Active "
        "has what it had"
    )


def _fail_job(execution: Any) -> None:
    """Upstream's own takes the job's user away with it."""
    job_manager._write_job_status(execution, {"status": edp.JOB_STATUS_FAILED})
