"""The mechanism driver of `external` with OVN (services' environment)."""

from __future__ import annotations

import os
from typing import Any

from neutron_lib.callbacks import events
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api

from onestack.components.neutron.inside import ovn_changes
from onestack.components.neutron.inside.external import (
    ExternalNetworkDriver,
    external,
    local_segments,
)

USERSPACE_VARIABLE = "ONESTACK_USERSPACE_DATAPATH"


class OvnExternalNetworkDriver(ExternalNetworkDriver):
    """It is also where the few changes to upstream's OVN driver are made."""

    def initialize(self) -> None:
        super().initialize()
        ovn_changes.skip_gateways_that_are_not_there()
        ovn_changes.tell_mtu_of_metadata_ports()
        ovn_changes.own_no_names_where_nobody_can()
        if self._physical_network:
            ovn_changes.schedule_local_networks()
        if USERSPACE_VARIABLE in os.environ:
            ovn_changes.keep_large_segments()

    def update_network_postcommit(self, context: Any) -> None:
        """Upstream makes and removes localnet ports with segments only: say it to OVN's driver."""
        now, before = external(context.current), external(context.original)
        if not self._physical_network or now == before:
            return
        ovn = directory.get_plugin().mechanism_manager.mech_drivers["ovn"].obj
        for segment in local_segments(context, context.current["id"]):
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
