"""What upstream's OVN driver is made to do otherwise (services' environment).

Five methods of upstream's are wrapped, and one more for the same reason as the
first; each wrapper calls upstream's and corrects its answer. There is no
option, hook or subclass for any.

- `schedule_local_networks`: upstream takes any external network that is not
  flat or vlan for a tunnelled one and pins its routers to a chassis whole.
  OVN then translates the addresses of *incoming* connections too: guests
  behind floating IPs see their router as every client's address.
- `keep_large_segments`: upstream sets ``gateway_mtu`` on each gateway. A
  userspace datapath that offloads segmentation carries TCP in pieces of up
  to 64 KiB, which OVN then drops as larger than that MTU: transfers between
  guests and the outside stall (200 MB: at 2.3 Gb/s without, not within a
  minute with it).
- `skip_gateways_that_are_not_there`: ten seconds after its start neutron gives each
  gateway without a chassis one, in one transaction. One router that is being made or
  removed in that moment has no port in OVN, and upstream then schedules none at all.
- `tell_mtu_of_metadata_ports`: upstream writes the MTU of a network to its metadata port only
  where the port is made, and the word ``None`` where it is changed, as it is when a
  subnet comes or goes. The agent that reads it then gives the network's guests no metadata.
- `own_no_names_where_nobody_can`: since 24.03 OVN can own guests' names (`[ovn]
  dns_records_ovn_owned`). With an older one, such as Debian 12's, upstream's maintenance reads
  a column that is not there, a hundred times with a traceback.
"""

from __future__ import annotations

import functools
from typing import Any

from futurist import periodics
from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.commands import (
    ScheduleUnhostedGatewaysCommand,
)
from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.maintenance import (
    DBInconsistenciesPeriodics,
)
from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient
from neutron.services.ovn_l3.plugin import OVNL3RouterPlugin
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.api.definitions import provider_net
from neutron_lib.plugins import directory

_GATEWAY_MTU = "gateway_mtu"


def physical_network(network: dict[str, Any]) -> str | None:
    """The physical network of a network of type local, which `external` gave it."""
    if network.get(provider_net.NETWORK_TYPE) != constants.TYPE_LOCAL:
        return None
    return network.get(provider_net.PHYSICAL_NETWORK) or None


def schedule_local_networks() -> None:
    """Treat gateways to local networks with a physical network as those to flat ones."""
    of_network = OVNClient._get_physnet

    @functools.wraps(of_network)
    def get_physnet(self: Any, network: dict[str, Any]) -> str | None:
        return of_network(self, network) or physical_network(network)

    of_ports = OVNL3RouterPlugin._get_gateway_port_physnet_mapping

    @functools.wraps(of_ports)
    def get_gateway_port_physnet_mapping(self: Any) -> dict[str, str | None]:
        found: dict[str, str | None] = of_ports(self)
        plugin, context = directory.get_plugin(), neutron_context.get_admin_context()
        for port_id, physnet in found.items():
            if physnet is None:
                network_id = plugin.get_port(context, port_id)["network_id"]
                found[port_id] = physical_network(plugin.get_network(context, network_id))
        return found

    OVNClient._get_physnet = get_physnet
    OVNL3RouterPlugin._get_gateway_port_physnet_mapping = get_gateway_port_physnet_mapping


def keep_large_segments() -> None:
    """Set no ``gateway_mtu``."""
    of_port = OVNClient._gen_router_port_options

    @functools.wraps(of_port)
    def gen_router_port_options(self: Any, *arguments: Any, **options: Any) -> dict[str, str]:
        found: dict[str, str] = of_port(self, *arguments, **options)
        found.pop(_GATEWAY_MTU, None)
        return found

    OVNClient._gen_router_port_options = gen_router_port_options


def skip_gateways_that_are_not_there() -> None:
    """Leave a gateway whose port is not in OVN to whoever makes or removes it."""
    of_command = ScheduleUnhostedGatewaysCommand.run_idl

    @functools.wraps(of_command)
    def run_idl(self: Any, transaction: Any) -> None:
        if self.api.lookup("Logical_Router_Port", self.g_name, default=None) is not None:
            of_command(self, transaction)

    ScheduleUnhostedGatewaysCommand.run_idl = run_idl


def tell_mtu_of_metadata_ports() -> None:
    """Ask for the network's MTU where upstream has not got it at hand."""
    of_port = OVNClient._get_port_options

    @functools.wraps(of_port)
    def get_port_options(self: Any, context: Any, port: dict[str, Any]) -> Any:
        found = of_port(self, context, port)
        if found.mtu == "None":
            network = self._plugin.get_network(
                neutron_context.get_admin_context(), port["network_id"]
            )
            return found._replace(mtu=str(network["mtu"]))
        return found

    OVNClient._get_port_options = get_port_options


def own_no_names_where_nobody_can() -> None:
    """Leave records of names as they are where OVN has no options for them."""
    of_records = DBInconsistenciesPeriodics.set_ovn_owned_dns_option

    @functools.wraps(of_records)
    def set_ovn_owned_dns_option(self: Any) -> None:
        if not self._nb_idl.is_col_present("DNS", "options"):
            raise periodics.NeverAgain
        of_records(self)

    DBInconsistenciesPeriodics.set_ovn_owned_dns_option = set_ovn_owned_dns_option
