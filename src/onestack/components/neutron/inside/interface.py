"""Interface drivers of ours, beside upstream's own (services' environment).

`ExternalBridgeDriver` plugs routers' outside legs straight into the external bridge.

``neutron net-create … --provider:network_type=local --router:external=true``
makes a network that upstream keeps inside br-int. The guide's clouds put the
router's ``qg-`` port into br-ex instead, as upstream itself did until its
option ``external_network_bridge`` was removed; this driver does the same. Legs on
another physical network, or on a VLAN, go the way of all ports: into br-int, with the
openvswitch agent to wire and tag them. All else is upstream's.
"""

from __future__ import annotations

import os
from typing import Any

from neutron.agent import rpc as agent_rpc
from neutron.agent.common import ovs_lib
from neutron.agent.l3 import namespaces
from neutron.agent.linux import interface, ip_lib
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.agent import topics
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
BRIDGE_VARIABLE = "ONESTACK_EXTERNAL_BRIDGE"
NETWORK_VARIABLE = "ONESTACK_EXTERNAL_NETWORK"
_GATEWAY: str = namespaces.EXTERNAL_DEV_PREFIX


class ExternalBridgeDriver(interface.OVSInterfaceDriver):  # type: ignore[misc]
    """Upstream's driver, with most ``qg-`` ports in the bridge named by the environment."""

    def __init__(self, conf: Any, **kwargs: Any) -> None:
        super().__init__(conf, **kwargs)
        self._external_bridge = os.environ[BRIDGE_VARIABLE]
        self._external_network = os.environ.get(NETWORK_VARIABLE, "")
        self._server: Any = None

    def plug(
        self,
        network_id: str,
        port_id: str,
        device_name: str,
        mac_address: str,
        bridge: str | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
        mtu: int | None = None,
    ) -> None:
        if prefix != _GATEWAY:
            super().plug(
                network_id, port_id, device_name, mac_address, bridge, namespace, prefix, mtu
            )
            return
        straight = self._leads_straight_out(port_id)
        bridge = bridge or (self._external_bridge if straight else self.conf.OVS.integration_bridge)
        self._leave_other_bridges(device_name, bridge)
        super().plug(network_id, port_id, device_name, mac_address, bridge, namespace, prefix, mtu)
        if straight:
            self._report_up(port_id)

    def unplug(
        self,
        device_name: str,
        bridge: str | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
    ) -> None:
        if prefix == _GATEWAY and not bridge:
            bridge = ovs_lib.BaseOVS().get_bridge_for_iface(device_name) or self._external_bridge
        super().unplug(device_name, bridge, namespace, prefix)

    def _leads_straight_out(self, port_id: str) -> bool:
        """Whether the leg is one into the external bridge as it is, without a tag.

        So are those to networks that have no physical network at all, as with upstream's
        old option.
        """
        details = self._asked().get_device_details(
            neutron_context.get_admin_context_without_session(),
            port_id,
            f"ovs-agent-{self.conf.host}",
            self.conf.host,
        )
        return straight_out(details, self._external_network)

    @staticmethod
    def _leave_other_bridges(device: str, bridge: str) -> None:
        """Take a leg out of the bridge in which other answers once put it."""
        ovs = ovs_lib.BaseOVS()
        if not ovs.port_exists(device):
            return
        found = ovs.get_bridge_for_iface(device)
        if found != bridge:
            LOG.info("Moving %s from the bridge %s to %s", device, found, bridge)
            ovs_lib.OVSBridge(found).delete_port(device)

    def _ovs_add_port(
        self, bridge: str, device_name: str, port_id: str, mac_address: str, internal: bool = True
    ) -> None:
        """As upstream's, for a bridge that the openvswitch agent does not look after.

        There is no ``iface-id``, by which that agent would take the port for
        one that is missing on br-int, and call it DOWN. And the port leaves
        the dead VLAN 4095, in which upstream makes each until that agent
        gives it a tag.
        """
        if bridge != self._external_bridge:
            super()._ovs_add_port(bridge, device_name, port_id, mac_address, internal)
            return
        switch = ovs_lib.OVSBridge(bridge)
        ids = {"neutron-port": port_id, "attached-mac": mac_address}
        switch.replace_port(device_name, ("type", "internal"), ("external_ids", ids))
        with switch.ovsdb.transaction(check_error=True) as transaction:
            for column in ("tag", "trunks", "vlan_mode"):
                transaction.add(switch.ovsdb.db_clear("Port", device_name, column))

    def _report_up(self, port_id: str) -> None:
        """Tell the server that the port works.

        The openvswitch agent does so for ports on br-int only; without this
        the gateway would be shown as DOWN for ever.
        """
        host = self.conf.host
        try:
            self._asked().update_device_up(
                neutron_context.get_admin_context_without_session(),
                port_id,
                f"ovs-agent-{host}",
                host,
            )
        except Exception:
            # The leg carries traffic all the same; the agent's next start reports again.
            LOG.exception("The server could not be told that the port %s is up", port_id)

    def _asked(self) -> Any:
        if self._server is None:
            self._server = agent_rpc.PluginApi(topics.PLUGIN)
        return self._server


def straight_out(details: dict[str, Any], external_network: str) -> bool:
    """``details`` are what the server says of the leg's port."""
    physical = details.get("physical_network")
    # One of type local has no other way, by whatever name it was led there.
    if details.get("network_type") == constants.TYPE_LOCAL or not physical:
        return True
    return bool(physical == external_network and details.get("segmentation_id") is None)


class DhcpDriver(interface.OVSInterfaceDriver):  # type: ignore[misc]
    """Upstream's driver; the server's own address comes before that of metadata.

    Upstream adds the two in no order, and tools that show one address of a
    device (ifconfig) show the first that it got.
    """

    def init_l3(
        self, device_name: str, ip_cidrs: list[str], namespace: str | None = None, **more: Any
    ) -> None:
        device = ip_lib.IPDevice(device_name, namespace=namespace)
        present = {address["cidr"] for address in device.addr.list()}
        own = [cidr for cidr in ip_cidrs if cidr != constants.METADATA_CIDR]
        if not present.issuperset(own):
            super().init_l3(device_name, own, namespace=namespace, **more)
        super().init_l3(device_name, ip_cidrs, namespace=namespace, **more)
