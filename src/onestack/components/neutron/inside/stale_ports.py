"""What a restart of a userspace Open vSwitch leaves in network namespaces (services' environment).

The switch's internal ports are then persistent tap devices. A new
ovs-vswitchd makes them anew where it runs; the old ones, with nobody behind
them, stay in the namespaces, where upstream's agents take them for good.
"""

from __future__ import annotations

import logging
from typing import Any

from neutron.agent.linux import ip_lib

LOG = logging.getLogger(__name__)


def remove(prefix: str) -> None:
    """Delete dead ports in the namespaces ``prefix``…, so that the agent plugs them anew."""
    for namespace in ip_lib.list_network_namespaces():
        if not namespace.startswith(prefix):
            continue
        for device in ip_lib.get_devices_info(namespace):
            if dead(device):
                LOG.warning("Removing the dead port %s from %s", device["name"], namespace)
                ip_lib.IPDevice(device["name"], namespace=namespace).link.delete()


def dead(device: dict[str, Any]) -> bool:
    """A tap device without a program behind it has no carrier."""
    return device.get("kind") == "tun" and device.get("operstate") == "DOWN"
