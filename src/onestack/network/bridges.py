"""What carries a cloud's networks, and the bridges of its switch.

Worked out once for a context: ``ctx.once(Bridges)``.
"""

from __future__ import annotations

from functools import cached_property

from onestack.model.context import Context
from onestack.network.addresses import first_address, in_subnet
from onestack.network.backend import datapath, l2_agent
from onestack.network.nic.plan import bridge_name
from onestack.network.wiring import Wiring


class Bridges:
    """The answers' bridges under the names that they have in this cloud."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.agent, self.reason = l2_agent(ctx.answers, ctx.facts)
        """``ovn`` or ``openvswitch``, and why, in a sentence."""
        self.wiring = Wiring(ctx.answers, self.agent)
        self.datapath = datapath(ctx.facts)
        """``system`` where the kernel has Open vSwitch's module, else ``netdev``."""
        self.integration = ctx.cloud.device("br-int")
        self.tunnel = ctx.cloud.device("br-tun")
        named = self.wiring.external_bridge
        self.external = ctx.cloud.device(named) if named else ""
        """Where routers' outside legs are plugged; nothing for provider networks only."""

    @cached_property
    def mappings(self) -> dict[str, str]:
        """Physical network to bridge."""
        pairs = self.wiring.mapping_pairs
        return {network: self._ctx.cloud.device(bridge) for network, bridge in pairs}

    @cached_property
    def all_mappings(self) -> dict[str, str]:
        """The same, and the external bridge's, which answers need not map."""
        own = {self.external_network: self.external} if self.external else {}
        return {**self.mappings, **own}

    @property
    def external_network(self) -> str:
        """The physical network of the external bridge, or of the public network without one."""
        return self.wiring.external_network

    @cached_property
    def outside_addresses(self) -> tuple[str, ...]:
        """The machine's own where external networks are, with prefix length, as facts have them.

        The bridge has them, or the NIC that answers join to it: the bridge of the kernel's that
        has the NIC's place once it is attached.
        """
        present = self._ctx.facts.cloud_devices
        bridges = [self.external] if self.external else list(self.mappings.values())
        devices = list(bridges)
        for bridge, nic in self.wiring.interface_pairs:
            if self._ctx.cloud.device(bridge) not in bridges:
                continue
            if "/" in nic:
                found = in_subnet(nic, present)
                devices += [found[0]] if found else []
            else:
                devices += [nic, bridge_name(nic)]
        return tuple(each for device in devices for each in present.get(device, ()))

    @cached_property
    def tunnel_address(self) -> str:
        """This host's end of tunnels, or nothing where no NIC is named for them."""
        device = self.tunnel_device
        return first_address(device, self._ctx.facts.cloud_devices) if device else ""

    @property
    def tunnel_device(self) -> str:
        """The NIC of this host's end of tunnels, or the subnet of its address, or nothing."""
        named = self.wiring.tunnel_device
        return self._ctx.cloud.device(named) if self.wiring.is_bridge(named) else named
