"""Gives external networks of type local their way out under OVN (services' environment).

``neutron net-create … --provider:network_type=local --router:external=true``
means, to the guide, a network whose routers reach the external bridge. Under
OVN a network reaches a bridge by a localnet port, which upstream makes for
each segment that has a physical network. This mechanism driver writes the
physical network of the external bridge into such a segment, in the
transaction that makes it; upstream's own code does the rest (`ovn_changes`
apart), and its synchronisation finds what it expects.
"""

from __future__ import annotations

import os
from typing import Any

from neutron.objects import network as network_objects
from neutron_lib import constants
from neutron_lib.api.definitions import external_net, provider_net
from neutron_lib.callbacks import events
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api
from oslo_log import log as logging

from onestack.components.neutron.inside import ovn_changes

LOG = logging.getLogger(__name__)
NETWORK_VARIABLE = "ONESTACK_EXTERNAL_NETWORK"
USERSPACE_VARIABLE = "ONESTACK_USERSPACE_DATAPATH"


def _external(network: dict[str, Any]) -> bool:
    return bool(network.get(external_net.EXTERNAL))


class ExternalNetworkDriver(api.MechanismDriver):  # type: ignore[misc]
    """Stands after ``ovn`` in ``[ml2] mechanism_drivers``; binds no port.

    It is also where the few changes to upstream's OVN driver are made.
    """

    def initialize(self) -> None:
        self._physical_network = os.environ.get(NETWORK_VARIABLE, "")
        ovn_changes.skip_gateways_that_are_not_there()
        if self._physical_network:
            ovn_changes.schedule_local_networks()
        if USERSPACE_VARIABLE in os.environ:
            ovn_changes.keep_large_segments()

    def create_network_precommit(self, context: Any) -> None:
        if self._physical_network and _external(context.current):
            self._set(context, self._physical_network)

    def update_network_precommit(self, context: Any) -> None:
        now, before = _external(context.current), _external(context.original)
        if self._physical_network and now != before:
            self._set(context, self._physical_network if now else None)

    def update_network_postcommit(self, context: Any) -> None:
        """Upstream makes and removes localnet ports with segments only: say it to OVN's driver."""
        now, before = _external(context.current), _external(context.original)
        if not self._physical_network or now == before:
            return
        ovn = directory.get_plugin().mechanism_manager.mech_drivers["ovn"].obj
        for segment in self._segments(context):
            state = {
                api.ID: segment.id,
                api.NETWORK_TYPE: segment.network_type,
                api.PHYSICAL_NETWORK: self._physical_network,
                api.SEGMENTATION_ID: None,
                "network_id": segment.network_id,
            }
            payload = events.DBEventPayload(
                context._plugin_context,
                states=(state,),
                resource_id=segment.id,
                metadata={"for_net_delete": False},
            )
            if now:
                ovn.create_segment_provnet_port(None, None, self, payload)
            else:
                ovn.delete_segment_provnet_port(None, None, self, payload)

    def _set(self, context: Any, physical_network: str | None) -> None:
        """Write it into the network's local segments, and into the answer to the client."""
        for segment in self._segments(context):
            segment.physical_network = physical_network
            segment.update()
            context.current[provider_net.PHYSICAL_NETWORK] = physical_network
            LOG.info(
                "The external network %s of type local uses the physical network %s",
                context.current["id"],
                physical_network,
            )

    @staticmethod
    def _segments(context: Any) -> list[Any]:
        return list(
            network_objects.NetworkSegment.get_objects(
                context._plugin_context,
                network_id=context.current["id"],
                network_type=constants.TYPE_LOCAL,
            )
        )
