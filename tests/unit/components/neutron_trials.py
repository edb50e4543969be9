"""What is ours inside neutron, tried with upstream's own code: run by test_neutron_upstream.

``python neutron_trials.py TRIAL``; ends with 0 when all is as expected.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from onestack.components import native_threads  # noqa: F401


def gateways_to_local_networks() -> None:
    """A local network with a physical network counts as one of it; others as before."""
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient

    from onestack.components.neutron import ovn_changes

    client = object.__new__(OVNClient)

    def seen(kind: str, physical: str | None) -> str | None:
        found: str | None = client._get_physnet(
            {"provider:network_type": kind, "provider:physical_network": physical}
        )
        return found

    assert seen("local", "extnet") is None
    ovn_changes.schedule_local_networks()
    assert seen("local", "extnet") == "extnet"
    assert seen("local", None) is None
    assert seen("flat", "other") == "other"
    assert seen("geneve", None) is None


def gateways_to_be_rescheduled() -> None:
    """The other place where upstream asks: by port."""
    from neutron.services.ovn_l3.plugin import OVNL3RouterPlugin
    from neutron_lib.plugins import directory
    from oslo_config import cfg

    from onestack.components.neutron import ovn_changes

    cfg.CONF([], project="neutron", default_config_files=[])
    networks = {
        "one": {"provider:network_type": "local", "provider:physical_network": "extnet"},
        "two": {"provider:network_type": "geneve", "provider:physical_network": None},
    }

    class Core:
        def get_port(self, context: Any, port: str) -> dict[str, str]:
            return {"network_id": {"a": "one", "b": "two", "c": "?"}[port]}

        def get_network(self, context: Any, network: str) -> dict[str, Any]:
            return networks[network]

    core = Core()
    directory.add_plugin("CORE", core)
    OVNL3RouterPlugin._get_gateway_port_physnet_mapping = lambda self: {
        "a": None,
        "b": None,
        "c": "flat",
    }
    ovn_changes.schedule_local_networks()
    plugin = object.__new__(OVNL3RouterPlugin)
    assert plugin._get_gateway_port_physnet_mapping() == {"a": "extnet", "b": None, "c": "flat"}


def large_segments() -> None:
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient

    from onestack.components.neutron import ovn_changes

    assert "OVN_ROUTER_PORT_GW_MTU_OPTION" in inspect.getsource(OVNClient._gen_router_port_options)
    OVNClient._gen_router_port_options = lambda self, context, port: {
        "gateway_mtu": "1500",
        "reside-on-redirect-chassis": "false",
    }
    ovn_changes.keep_large_segments()
    client = object.__new__(OVNClient)
    assert client._gen_router_port_options(None, {}) == {"reside-on-redirect-chassis": "false"}


def mechanism_driver() -> None:
    """Upstream finds it by its name, and it changes upstream only when asked to."""
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient
    from neutron_lib.plugins.ml2 import api
    from stevedore import driver

    before = OVNClient._get_physnet, OVNClient._gen_router_port_options
    found = driver.DriverManager("neutron.ml2.mechanism_drivers", "onestack_external").driver()
    assert isinstance(found, api.MechanismDriver)
    found.initialize()
    assert (OVNClient._get_physnet, OVNClient._gen_router_port_options) == before
    os.environ["ONESTACK_EXTERNAL_NETWORK"] = "extnet"
    os.environ["ONESTACK_USERSPACE_DATAPATH"] = "y"
    found.initialize()
    assert OVNClient._get_physnet is not before[0]
    assert OVNClient._gen_router_port_options is not before[1]


def interface_drivers() -> None:
    """They override what upstream has, with upstream's own arguments."""
    from neutron.agent.linux import interface
    from stevedore import driver

    os.environ["ONESTACK_EXTERNAL_BRIDGE"] = "br-ex"
    for name in ("onestack_external", "onestack_dhcp"):
        ours = driver.DriverManager("neutron.interface_drivers", name).driver
        assert issubclass(ours, interface.OVSInterfaceDriver)
        for method, made in vars(ours).items():
            theirs = getattr(interface.OVSInterfaceDriver, method, None)
            if not inspect.isfunction(made) or theirs is None or method == "__init__":
                continue
            known = inspect.signature(made).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                assert list(known) == list(inspect.signature(theirs).parameters), method


def dead_ports() -> None:
    from onestack.components.neutron import stale_ports

    assert stale_ports.dead({"kind": "tun", "operstate": "DOWN"})
    assert not stale_ports.dead({"kind": "tun", "operstate": "UNKNOWN"})
    assert not stale_ports.dead({"kind": "veth", "operstate": "DOWN"})
    assert not stale_ports.dead({"operstate": "DOWN"})


def workers() -> None:
    """The objects that `run.workers` starts, by the names it uses."""
    from neutron import service
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.worker import MaintenanceWorker

    for name in ("_get_plugins_workers", "_get_rpc_workers"):
        assert callable(getattr(service, name))
    for method in ("start", "stop"):
        assert callable(getattr(MaintenanceWorker, method))


def warm_ovn() -> None:
    import onestack.components.neutron.warm
    import onestack.components.neutron.warm_ovn  # noqa: F401


def warm_openvswitch() -> None:
    import onestack.components.neutron.warm
    import onestack.components.neutron.warm_openvswitch  # noqa: F401


if __name__ == "__main__":
    globals()[sys.argv[1]]()
