"""What an earlier process had promised and not finished (services' environment).

OVN's driver does its work in threads, after the client was answered. What a
process that ends leaves undone stays PENDING, and nothing that is PENDING can
be changed or deleted, ever. This process is the only one that works, so what
it finds PENDING at its start is nobody's.
"""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("onestack.octavia")


def settle() -> None:
    """Give it up: what was to be made or deleted is in error, and can be deleted (again).

    A thing is also PENDING_UPDATE while something below it changes; it is as
    it was.
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
    }
    left: dict[str, list[dict[str, str]]] = {}
    with api.get_session() as session:
        for kind, model in kinds.items():
            status = model.provisioning_status
            for identity, was in session.query(model.id, status).filter(status.in_(becomes)):
                LOG.error("%s of %s was interrupted (%s)", was, identity, kind)
                left.setdefault(kind, []).append(
                    {"id": identity, constants.PROVISIONING_STATUS: becomes[was]}
                )
    if left:
        answer = DriverUpdater().update_loadbalancer_status(left)
        if answer[lib_constants.STATUS_CODE] != lib_constants.DRVR_STATUS_CODE_OK:
            raise RuntimeError(f"what was interrupted could not be settled: {answer}")
