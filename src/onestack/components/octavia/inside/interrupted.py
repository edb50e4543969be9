"""What an earlier process had promised and not finished (services' environment).

A provider's work is done in threads, after the client was answered. What a
process that ends leaves undone stays PENDING, and nothing that is PENDING can
be changed or deleted, ever. This process is the only one that works, so what
it finds PENDING at its start is nobody's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

LOG = logging.getLogger("onestack.octavia")


@dataclass(frozen=True)
class Left:
    """Balancers of the provider amphora that somebody must see to; they are PENDING until then."""

    behind: tuple[str, ...] = ()
    """Their amphorae have their servers and ports, and may not have been told of a change."""
    broken: tuple[str, ...] = ()
    """An amphora of theirs was being made or replaced, or may have been."""
    half_made: tuple[str, ...] = ()
    """Amphorae of which it is not known whether they have a server."""


def settle() -> Left:
    """Give it up: what was to be made or deleted is in error, and can be deleted (again).

    A thing is also PENDING_UPDATE while something below it changes; it is as
    it was. Of amphorae's balancers those stay PENDING that are mended: see `repair`.
    """
    from octavia.api.drivers.driver_agent.driver_updater import DriverUpdater
    from octavia.common import constants
    from octavia.db import api, models
    from octavia_lib.common import constants as lib_constants

    becomes = {
        constants.PENDING_CREATE: constants.ERROR,
        constants.PENDING_DELETE: constants.ERROR,
        constants.PENDING_UPDATE: constants.ACTIVE,
    }
    kinds: dict[str, Any] = {
        constants.LOADBALANCERS: models.LoadBalancer,
        constants.LISTENERS: models.Listener,
        constants.POOLS: models.Pool,
        constants.HEALTHMONITORS: models.HealthMonitor,
        constants.MEMBERS: models.Member,
        constants.L7POLICIES: models.L7Policy,
        constants.L7RULES: models.L7Rule,
    }
    found: dict[str, list[dict[str, str]]] = {}
    with api.get_session() as session:
        left = _of_amphorae(session)
        kept = {*left.behind, *left.broken}
        for kind, model in kinds.items():
            status = model.provisioning_status
            for identity, was in session.query(model.id, status).filter(status.in_(becomes)):
                LOG.error("%s of %s was interrupted (%s)", was, identity, kind)
                # Those keep what tells, should this process end too, that they were being made.
                if identity not in kept:
                    found.setdefault(kind, []).append(
                        {"id": identity, constants.PROVISIONING_STATUS: becomes[was]}
                    )
    if found:
        answer = DriverUpdater().update_loadbalancer_status(found)
        if answer[lib_constants.STATUS_CODE] != lib_constants.DRVR_STATUS_CODE_OK:
            raise RuntimeError(f"what was interrupted could not be settled: {answer}")
    return left


def _of_amphorae(session: Any) -> Left:
    from octavia.common import constants
    from octavia.db import models

    whole = (constants.AMPHORA_ALLOCATED, constants.AMPHORA_FAILOVER_STOPPED)
    behind: list[str] = []
    broken: list[str] = []
    amphorae = session.query(models.Amphora).filter(models.Amphora.status != constants.DELETED)
    state = models.LoadBalancer.provisioning_status
    pending = session.query(models.LoadBalancer).filter(
        models.LoadBalancer.provider == "amphora",
        state.in_((constants.PENDING_CREATE, constants.PENDING_UPDATE)),
    )
    for balancer in pending:
        own = amphorae.filter(models.Amphora.load_balancer_id == balancer.id)
        # An amphora is allocated before it has its network, and a pair comes to terms later still.
        well = (
            balancer.provisioning_status == constants.PENDING_UPDATE
            and balancer.topology == constants.TOPOLOGY_SINGLE
            and [(amphora.status in whole, bool(amphora.vrrp_port_id)) for amphora in own]
            == [(True, True)]
        )
        (behind if well else broken).append(balancer.id)
    unknown = amphorae.filter(
        models.Amphora.compute_id.is_(None),
        models.Amphora.status.in_((constants.PENDING_CREATE, constants.AMPHORA_BOOTING)),
    )
    # Whoever was about to see to them is gone.
    session.query(models.AmphoraHealth).filter(models.AmphoraHealth.busy).update({"busy": False})
    session.query(models.Amphora).filter(models.Amphora.cert_busy).update({"cert_busy": False})
    session.commit()
    return Left(tuple(behind), tuple(broken), tuple(amphora.id for amphora in unknown))
