"""What DHCP's agent is not told while it starts. (Services' environment.)

Upstream asks for all networks, serves each, and only then listens: a network that is deleted
meanwhile keeps its device and its server, and a port that is made gets no address, until the agent
is started once more.
"""

from __future__ import annotations

import functools
from typing import Any

import oslo_messaging as messaging
from neutron.agent.dhcp.agent import DhcpPluginApi
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
REASON = "it has changed while the agent started"


class Attentive:
    """Upstream's ``agent``; when it listens it asks again, and serves anew what is another."""

    def __init__(self, agent: Any) -> None:
        self._agent, self._manager = agent, agent.manager
        self._before: dict[str, str] | None = None
        asked = DhcpPluginApi.get_active_networks_info

        @functools.wraps(asked)
        def get_active_networks_info(api: Any, **more: Any) -> Any:
            found = asked(api, **more)
            if self._before is None:
                self._before = known(found)
            return found

        DhcpPluginApi.get_active_networks_info = get_active_networks_info

    def start(self) -> None:
        self._agent.start()
        if self._before is None:
            return  # it is to ask again by itself: it was not answered
        try:
            asked = self._manager.plugin_rpc.get_active_networks_info
            now = known(asked(enable_dhcp_filter=False))
        except messaging.MessagingException as error:
            self._manager.schedule_resync(error)
            return
        for network in sorted({*self._before, *now}):
            if self._before.get(network) != now.get(network):
                LOG.info("Network %s is looked at again: %s.", network, REASON)
                self._manager.schedule_resync(REASON, network)

    def stop(self) -> None:
        self._agent.stop()


def known(networks: Any) -> dict[str, str]:
    """All that is told of each."""
    return {network.id: str(network) for network in networks}
