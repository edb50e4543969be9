"""What neutron's files have in common: its places, its agent, its bridges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onestack.model.context import Context
from onestack.network.addresses import first_address
from onestack.network.backend import datapath, l2_agent
from onestack.network.wiring import Wiring

PORT = 9696
NOVA_METADATA_PORT = 8775


@dataclass(frozen=True)
class Layout:
    """Where neutron's things lie in one cloud, and which agent carries its networks."""

    ctx: Context

    @property
    def agent(self) -> str:
        """``ovn`` or ``openvswitch``."""
        return l2_agent(self.ctx.answers, self.ctx.facts)[0]

    @property
    def ovn(self) -> bool:
        return self.agent == "ovn"

    @property
    def wiring(self) -> Wiring:
        return Wiring(self.ctx.answers, self.agent)

    @property
    def user(self) -> str:
        return self.ctx.cloud.user("neutron")

    @property
    def etc(self) -> Path:
        return self.ctx.cloud.etc / "neutron"

    @property
    def state(self) -> Path:
        return self.ctx.cloud.data / "neutron"

    @property
    def temporary(self) -> Path:
        """Of neutron-api alone, made anew at each of its starts."""
        return self.ctx.cloud.run / "neutron" / "api"

    @property
    def namespaces(self) -> Path:
        """A file for each network namespace that ever had a process of ours in it."""
        return self.ctx.cloud.data / "neutron-namespaces"

    @property
    def ovsdb(self) -> str:
        return f"unix:{self.ctx.cloud.run / 'openvswitch' / 'db.sock'}"

    @property
    def northbound(self) -> str:
        return f"unix:{self.ctx.cloud.run / 'ovn' / 'ovnnb_db.sock'}"

    @property
    def southbound(self) -> str:
        return f"unix:{self.ctx.cloud.run / 'ovn' / 'ovnsb_db.sock'}"

    @property
    def integration_bridge(self) -> str:
        return self.ctx.cloud.device("br-int")

    @property
    def external_bridge(self) -> str:
        """Where routers' outside legs are plugged; nothing for provider networks only."""
        named = self.wiring.external_bridge
        return self.ctx.cloud.device(named) if named else ""

    @property
    def bridge_mappings(self) -> dict[str, str]:
        """Physical network to bridge."""
        pairs = self.wiring.mapping_pairs
        return {network: self.ctx.cloud.device(bridge) for network, bridge in pairs}

    @property
    def external_network(self) -> str:
        """The physical network of the external bridge, or nothing."""
        bridges = {bridge: network for network, bridge in self.bridge_mappings.items()}
        if self.external_bridge in bridges:
            return bridges[self.external_bridge]
        return self.wiring.physical_network

    @property
    def neutron_conf(self) -> Path:
        return self.etc / "neutron.conf"

    @property
    def server(self) -> tuple[Path, ...]:
        """Configuration files of the API and the workers."""
        return self.neutron_conf, self.etc / "ml2.ini"

    def agent_files(self, name: str) -> tuple[Path, ...]:
        """Configuration files of the agent ``name`` (``l3``, ``dhcp``, …)."""
        return self.neutron_conf, self.etc / f"{name}_agent.ini"

    @property
    def datapath(self) -> str:
        """``system`` where the kernel has Open vSwitch's module, else ``netdev``."""
        return datapath(self.ctx.facts)

    @property
    def tunnel_address(self) -> str:
        """This host's end of tunnels; loopback until another host could be at the other end."""
        device = self.wiring.tunnel_device
        return first_address(device, self.ctx.facts.cloud_devices) if device else "127.0.0.1"
