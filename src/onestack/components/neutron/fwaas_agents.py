"""FWaaS's service driver with Open vSwitch's agents (services' environment)."""

from __future__ import annotations

from typing import Any

from neutron_fwaas.services.firewall.service_drivers.agents import agents


class Driver(agents.FirewallAgentDriver):  # type: ignore[misc]
    """Upstream's, for the ports of routers only.

    The agent of layer 2 has no extension here that would guard a guest's port.
    Upstream would put such ports into the project's default group all the
    same, which then waited for that agent for ever.
    """

    def is_supported_l2_port(self, port: dict[str, Any]) -> bool:
        return False
