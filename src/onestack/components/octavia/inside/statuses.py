"""A provider's word on an object counts after the API's own (services' environment).

The API tells a provider of a change before it writes that the object is PENDING_UPDATE, all in
one transaction. A provider as fast as OVN's, under load, says ACTIVE in between, of the object
first: then the API's word is the last, and the object is PENDING_UPDATE for ever.
"""

from __future__ import annotations

from typing import Any

from octavia.api.drivers.driver_agent.driver_updater import DriverUpdater
from octavia.db import api, models


def heed() -> None:
    """What a provider says is written once the API is done with the balancer that it is of."""
    upstreams = DriverUpdater.update_loadbalancer_status

    def update_loadbalancer_status(self: Any, status: dict[str, Any]) -> Any:
        _await({balancer["id"] for balancer in status.get("loadbalancers", ()) if balancer["id"]})
        return upstreams(self, status)

    DriverUpdater.update_loadbalancer_status = update_loadbalancer_status


def _await(balancers: set[str]) -> None:
    """Until no transaction has these: the API holds the balancer's row in each of its changes."""
    row = models.LoadBalancer.id
    with api.session().begin() as session:
        session.query(row).filter(row.in_(sorted(balancers))).with_for_update().all()
