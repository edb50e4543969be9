"""FWaaS's driver in the layer 3 agent (services' environment)."""

from __future__ import annotations

from neutron_fwaas.services.firewall.service_drivers.agents.drivers.linux import iptables_fwaas_v2


class Driver(iptables_fwaas_v2.IptablesFwaasDriver):  # type: ignore[misc]
    """Upstream's."""
