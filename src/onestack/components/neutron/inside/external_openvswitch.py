"""The mechanism driver of `external` with Open vSwitch's agents (services' environment)."""

from __future__ import annotations

from neutron.services.l3_router.l3_router_plugin import L3RouterPlugin
from neutron_lib.api.definitions import (
    dvr,
    l3_ext_ha_mode,
    network_ha,
    router_admin_state_down_before_update,
)

from onestack.components.neutron.inside.external import ExternalNetworkDriver

NOT_HERE = (
    dvr.ALIAS,
    l3_ext_ha_mode.ALIAS,
    network_ha.ALIAS,
    router_admin_state_down_before_update.ALIAS,  # which is of the first
)
"""Extensions for routers on several hosts at once."""


class OpenvswitchExternalNetworkDriver(ExternalNetworkDriver):
    """It is also where the API is kept from promising what one host's agents do not do.

    A router made with ``--ha`` or ``--distributed`` would be ACTIVE for ever and forward
    nothing: the agents have no keepalived, and are not told of others.
    """

    def initialize(self) -> None:
        super().initialize()
        offered = L3RouterPlugin._supported_extension_aliases
        for alias in NOT_HERE:
            if alias in offered:
                offered.remove(alias)
