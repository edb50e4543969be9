"""What neutron's processes import: once, in a zygote of their own.

Nothing here may import ``neutron.agent.linux.iptables_manager``, which takes
the names of its chains from the process's own name when it is imported: so
not the agents of layer 3, DHCP and metadata.
"""

from __future__ import annotations

import sys

# ruff: noqa: F401 (importing is all that is wanted)
import neutron.agent.linux.ip_lib
import neutron.common.config
import neutron.db.models_v2
import neutron.manager
import neutron.plugins.ml2.plugin
import neutron.plugins.ml2.rpc
import neutron.server
import neutron.service
from neutron import objects

objects.register_objects()


NOT_HERE = (
    "neutron.agent.linux.iptables_manager",
    # Reads the configuration when it is imported, to know whose layer 3 plugin is meant:
    # without one it has that of the Open vSwitch layout loaded beside OVN's.
    "neutron.services.portforwarding.pf_plugin",
)


def check() -> None:
    """Raises `ImportError` when what no zygote may import came along."""
    if came := [name for name in NOT_HERE if name in sys.modules]:
        raise ImportError(f"{', '.join(came)} came along, which no zygote may import")


check()
