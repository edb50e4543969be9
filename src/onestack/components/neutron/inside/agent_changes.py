"""What the openvswitch agent is made to do otherwise (services' environment).

`wire_local_networks`: upstream's agent leads no network of type local to a bridge, whatever
its physical network. External ones have that of the external bridge (`external`): they are
wired as flat ones are.
"""

from __future__ import annotations

import functools
from typing import Any

from neutron.agent.rpc import CacheBackedPluginApi
from neutron_lib import constants

_TYPE, _PHYSICAL = "network_type", "physical_network"


def wire_local_networks() -> None:
    """Treat ports of local networks with a physical network as those of flat ones."""
    of_device = CacheBackedPluginApi.get_device_details

    @functools.wraps(of_device)
    def get_device_details(self: Any, *asked: Any, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = of_device(self, *asked, **more)
        if found.get(_TYPE) == constants.TYPE_LOCAL and found.get(_PHYSICAL):
            found[_TYPE] = constants.TYPE_FLAT
        return found

    CacheBackedPluginApi.get_device_details = get_device_details
