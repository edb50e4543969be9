"""Plugs routers' outside legs straight into the external bridge (services' environment).

``neutron net-create … --provider:network_type=local --router:external=true``
makes a network that upstream keeps inside br-int. The guide's clouds put the
router's ``qg-`` port into br-ex instead, as upstream itself did until its
option ``external_network_bridge`` was removed; this driver, named by class
path in ``l3_agent.ini``, does the same. All else is upstream's.
"""

from __future__ import annotations

import os
from typing import Any

from neutron.agent import rpc as agent_rpc
from neutron.agent.common import ovs_lib
from neutron.agent.l3 import namespaces
from neutron.agent.linux import interface
from neutron_lib import context as neutron_context
from neutron_lib.agent import topics
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
BRIDGE_VARIABLE = "ONESTACK_EXTERNAL_BRIDGE"
_GATEWAY: str = namespaces.EXTERNAL_DEV_PREFIX


class ExternalBridgeDriver(interface.OVSInterfaceDriver):  # type: ignore[misc]
    """Upstream's driver, with ``qg-`` ports in the bridge named by the environment."""

    def __init__(self, conf: Any, **kwargs: Any) -> None:
        super().__init__(conf, **kwargs)
        self._external_bridge = os.environ[BRIDGE_VARIABLE]
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
        bridge = bridge or self._external_bridge
        self._leave_other_bridges(device_name, bridge)
        super().plug(network_id, port_id, device_name, mac_address, bridge, namespace, prefix, mtu)
        self._open(device_name, bridge)
        self._report_up(port_id)

    def unplug(
        self,
        device_name: str,
        bridge: str | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
    ) -> None:
        if prefix == _GATEWAY:
            bridge = bridge or self._external_bridge
        super().unplug(device_name, bridge, namespace, prefix)

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

    @staticmethod
    def _open(device: str, bridge: str) -> None:
        """Let untagged packets through.

        Upstream makes each port with the dead VLAN 4095 as its only one, until
        the openvswitch agent gives it a tag; on this bridge nobody would.
        """
        switch = ovs_lib.OVSBridge(bridge)
        with switch.ovsdb.transaction(check_error=True) as transaction:
            for column in ("tag", "trunks", "vlan_mode"):
                transaction.add(switch.ovsdb.db_clear("Port", device, column))

    def _report_up(self, port_id: str) -> None:
        """Tell the server that the port works.

        The openvswitch agent does so for ports on br-int only; without this
        the gateway would be shown as DOWN for ever.
        """
        if self._server is None:
            self._server = agent_rpc.PluginApi(topics.PLUGIN)
        host = self.conf.host
        try:
            self._server.update_device_up(
                neutron_context.get_admin_context_without_session(),
                port_id,
                f"ovs-agent-{host}",
                host,
            )
        except Exception:
            # The leg carries traffic all the same; the agent's next start reports again.
            LOG.exception("The server could not be told that the port %s is up", port_id)
