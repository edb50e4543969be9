"""FWaaS's service driver with Open vSwitch's agents (services' environment)."""

from __future__ import annotations

from typing import Any

from neutron_fwaas.services.firewall.service_drivers.agents import agents


class Driver(agents.FirewallAgentDriver):  # type: ignore[misc]
    """Upstream's, with two things otherwise.

    Only ports of routers can be in a group. The agent of layer 2 has no
    extension here that would guard a guest's port; upstream would put guests'
    ports into their project's default group all the same, which then waited for
    that agent for ever.

    And the agent is told when a group is switched off or on (``--disable``).
    """

    def is_supported_l2_port(self, port: dict[str, Any]) -> bool:
        return False

    def _need_pending_update(
        self, old_firewall_group: dict[str, Any], new_firewall_group: dict[str, Any]
    ) -> bool:
        switched = old_firewall_group["admin_state_up"] != new_firewall_group["admin_state_up"]
        return bool(
            super()._need_pending_update(old_firewall_group, new_firewall_group)
            or (switched and new_firewall_group["ports"])
        )
