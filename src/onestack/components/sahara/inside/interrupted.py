"""What an earlier process had begun and not finished (sahara's environment).

The engine works for minutes on what a client was promised in a moment. What it leaves undone
when it ends, upstream keeps for ever as it is. This process is the only one that works, so what it
finds begun at its start is nobody's, and it is brought to an end. A cluster that was being made
loses its machines and is in Error, as after an error of upstream's. One that had been whole is
Active again, whatever was asked of it. One that was being deleted is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sahara import conductor, context
from sahara.service import ops
from sahara.service.edp import job_manager
from sahara.service.health import common as health
from sahara.service.health import verification_base as checks
from sahara.utils import cluster as clusters
from sahara.utils import edp

from onestack.components.sahara.inside import stacks, whole

LOG = logging.getLogger("onestack.sahara")
SETTLED = (clusters.CLUSTER_STATUS_ACTIVE, clusters.CLUSTER_STATUS_ERROR)
LEAVING = (clusters.CLUSTER_STATUS_DELETING, clusters.CLUSTER_STATUS_AWAITINGTERMINATION)
CUT_SHORT = "the service ended in the middle of it"


class CutShort(Exception):
    """What upstream is told went wrong."""


def settle() -> None:
    """Before anything is asked of this process; what takes long goes on beside it."""
    context.set_ctx(context.get_admin_context())
    try:
        for cluster in conductor.API.cluster_get_all(context.ctx()):
            if checks.verification_exists(cluster) and _checked(cluster):
                # Upstream would never check it again.
                checks.clean_verification_data(cluster.id)
            if cluster.status not in SETTLED:
                LOG.error("The cluster %s was interrupted in %s", cluster.id, cluster.status)
                context.spawn(f"settle {cluster.id}", _alone, _settle_cluster, cluster)
        for execution in conductor.API.job_execution_get_all(context.ctx(), end_time=None):
            if not execution.engine_job_id:
                LOG.error("The job %s was interrupted before it ran", execution.id)
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
    if cluster.status in LEAVING and not cluster.trust_id:
        # Its owner's trust came before its stack, and goes after it: there is none.
        ops.INFRA._clean_job_executions(cluster)
        ops.INFRA._remove_db_objects(cluster)
        conductor.API.cluster_destroy(context.ctx(), cluster)
    elif cluster.status in LEAVING:
        ops.terminate_cluster(cluster.id)
    elif whole.is_whole(cluster):
        whole.keep(cluster)
        clusters.change_cluster_status(
            cluster,
            clusters.CLUSTER_STATUS_ACTIVE,
            f"{CUT_SHORT}: see what it has, and scale it again. A machine that was being added may "
            "be without software: it goes when the cluster is scaled in",
        )
    elif stacks.has_one(cluster):
        # Which upstream forgets once machines are there, before anything is on them.
        made = {"rollback_info": {"shutdown": True}}
        conductor.API.cluster_update(context.ctx(), cluster, made)
        _end(cluster.id)
    else:
        told = f"{CUT_SHORT}: it has no machines yet, and can be deleted"
        clusters.change_cluster_status(cluster, clusters.CLUSTER_STATUS_ERROR, told)


def _checked(cluster: Any) -> bool:
    return bool(cluster.verification.status == health.HEALTH_STATUS_CHECKING)


@ops.ops_error_handler("{reason}")  # type: ignore[untyped-decorator]
def _end(cluster_id: str) -> None:
    raise CutShort(f"{CUT_SHORT}: its machines are removed, and it can be deleted")


def _fail_job(execution: Any) -> None:
    """Upstream's own takes the job's user away with it."""
    job_manager._write_job_status(execution, {"status": edp.JOB_STATUS_FAILED})
