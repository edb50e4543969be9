"""Gives external networks of type local their way out, in both layouts (services' environment).

``neutron net-create … --provider:network_type=local --router:external=true``
means, to the guide, a network whose routers, and whose own guests, reach the
external bridge. A network reaches a bridge by its segment's physical network. These
mechanism drivers write that of the external bridge into such a segment, in the
transaction that makes it; upstream's own code does the rest (`ovn_changes` and
`agent_changes` apart), and its synchronisation finds what it expects.
"""

from __future__ import annotations

import os
from typing import Any

from neutron.objects import network as network_objects
from neutron_lib import constants
from neutron_lib.api.definitions import external_net, provider_net
from neutron_lib.plugins.ml2 import api
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
NETWORK_VARIABLE = "ONESTACK_EXTERNAL_NETWORK"


def external(network: dict[str, Any]) -> bool:
    return bool(network.get(external_net.EXTERNAL))


class ExternalNetworkDriver(api.MechanismDriver):  # type: ignore[misc]
    """Stands last in ``[ml2] mechanism_drivers``; binds no port."""

    def initialize(self) -> None:
        self._physical_network = os.environ.get(NETWORK_VARIABLE, "")

    def create_network_precommit(self, context: Any) -> None:
        if self._physical_network and external(context.current):
            self._set(context)

    def update_network_precommit(self, context: Any) -> None:
        now, before = external(context.current), external(context.original)
        if self._physical_network and now != before:
            self._set(context)

    def _set(self, context: Any) -> None:
        """Write it into the network's local segments, and into the answer to the client."""
        network = context.current
        if segments := local_segments(context, network["id"]):
            physical = self._way_out(context) if external(network) else None
            for segment in segments:
                lead(segment, physical)
            network[provider_net.PHYSICAL_NETWORK] = physical

    def _way_out(self, context: Any) -> str | None:
        """The physical network of a local one that becomes external, or nothing."""
        return self._physical_network


def local_segments(context: Any, network: str) -> list[Any]:
    return list(
        network_objects.NetworkSegment.get_objects(
            context._plugin_context, network_id=network, network_type=constants.TYPE_LOCAL
        )
    )


def lead(segment: Any, physical_network: str | None) -> None:
    """Give a segment of type local that physical network."""
    if segment.physical_network == physical_network:
        return
    segment.physical_network = physical_network
    segment.update()
    LOG.info(
        "The network %s of type local uses the physical network %s",
        segment.network_id,
        physical_network,
    )
