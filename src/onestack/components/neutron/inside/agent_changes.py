"""What the openvswitch agent is made to do otherwise (services' environment).

- `wire_local_networks`: upstream's agent leads no network of type local to a bridge, whatever
  its physical network. External ones have that of the external bridge (`external`): they are
  wired as flat ones are.
- `keep_untagged_frames`: the flow by which untagged frames come in from a bridge is one, and
  goes with whichever flat network loses its last port. It may be another's by then: the server
  gives them to another network before the agent has seen the port go.
- `see_through_loaders`: the agent hears of new ports from `ovsdb-client monitor`, and takes it to
  run when the process is called so. One of another Debian's (`onestack.network.distribution`) is
  called as its loader is.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from neutron.agent.rpc import CacheBackedPluginApi
from neutron_lib import constants

_TYPE, _PHYSICAL = "network_type", "physical_network"
_NAME = "--argv0"
"""A loader's last option: the name follows, then the program, and its arguments."""


def see_through_loaders() -> None:
    """Know a program that was started by a loader of its own by the name that it was given."""
    from neutron.agent.linux import utils

    as_it_is = utils.get_cmdline_from_pid

    @functools.wraps(as_it_is)
    def get_cmdline_from_pid(pid: object) -> list[str]:
        words: list[str] = as_it_is(pid)
        if not words or not os.path.basename(words[0]).startswith("ld-") or _NAME not in words:
            return words
        name = words.index(_NAME) + 1
        return [words[name], *words[name + 2 :]]

    utils.get_cmdline_from_pid = get_cmdline_from_pid


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


def keep_untagged_frames() -> None:
    """Give them back to the network that has them now."""
    from neutron.plugins.ml2.drivers.openvswitch.agent.ovs_neutron_agent import OVSNeutronAgent

    of_network = OVSNeutronAgent.reclaim_local_vlan

    @functools.wraps(of_network)
    def reclaim_local_vlan(self: Any, net_uuid: str, segmentation_id: int | None) -> None:
        gone = self.vlan_manager.mapping.get(net_uuid, {}).get(segmentation_id)
        of_network(self, net_uuid, segmentation_id)
        if gone is None or gone.network_type != constants.TYPE_FLAT:
            return
        physical = gone.physical_network
        for network, segments in self.vlan_manager.items():
            for left in segments.values():
                if (left.network_type, left.physical_network) == (gone.network_type, physical):
                    self.provision_local_vlan(network, left.network_type, physical, None)

    OVSNeutronAgent.reclaim_local_vlan = reclaim_local_vlan
