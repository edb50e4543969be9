"""What is ours inside neutron, tried with upstream's own code: run by test_neutron_upstream.

``python neutron_trials.py TRIAL``; ends with 0 when all is as expected.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from typing import Any

from onestack.runtime import native_threads  # noqa: F401


def gateways_to_local_networks() -> None:
    """A local network with a physical network counts as one of it; others as before."""
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient

    from onestack.components.neutron.inside import ovn_changes

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

    from onestack.components.neutron.inside import ovn_changes

    cfg.CONF([], project="neutron", default_config_files=[])
    networks: dict[str, dict[str, Any]] = {
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


def gateways_that_are_not_there() -> None:
    """Upstream fails for one, and with it for all others of the transaction."""
    import types

    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.commands import (
        ScheduleUnhostedGatewaysCommand,
    )
    from ovsdbapp.backend.ovs_idl import idlutils

    from onestack.components.neutron.inside import ovn_changes

    asked: list[str] = []

    def lookup(table: str, name: str, **more: Any) -> Any:
        if name == "lrp-there":
            return types.SimpleNamespace(name=name)
        if "default" in more:
            return more["default"]
        raise idlutils.RowNotFound(table=table, col="name", match=name)

    class Reached(Exception):
        pass

    def binding(name: str) -> None:
        asked.append(name)
        raise Reached

    def run(name: str) -> str:
        command = object.__new__(ScheduleUnhostedGatewaysCommand)
        command.g_name, command.port_physnets = name, {}
        command.api = types.SimpleNamespace(lookup=lookup, get_gateway_chassis_binding=binding)
        try:
            command.run_idl(None)
        except (idlutils.RowNotFound, Reached) as error:
            return type(error).__name__
        return "passed over"

    # The reason for all this: should upstream do it one day, ours can go.
    assert run("lrp-gone") == "RowNotFound"
    ovn_changes.skip_gateways_that_are_not_there()
    assert run("lrp-gone") == "passed over"
    assert run("lrp-there") == "Reached" and asked == ["lrp-there"]


def large_segments() -> None:
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.ovn_client import OVNClient

    from onestack.components.neutron.inside import ovn_changes

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
    told = OVNClient._get_port_options
    manager: driver.DriverManager[Any]
    manager = driver.DriverManager("neutron.ml2.mechanism_drivers", "onestack_external")
    found = manager.driver()
    assert isinstance(found, api.MechanismDriver)
    found.initialize()
    assert (OVNClient._get_physnet, OVNClient._gen_router_port_options) == before
    assert OVNClient._get_port_options is not told
    os.environ["ONESTACK_EXTERNAL_NETWORK"] = "extnet"
    os.environ["ONESTACK_USERSPACE_DATAPATH"] = "y"
    found.initialize()
    assert OVNClient._get_physnet is not before[0]
    assert OVNClient._gen_router_port_options is not before[1]


def mechanism_driver_of_agents() -> None:
    """It imports nothing of OVN, and offers no routers that one host's agents do not carry."""
    from neutron.services.l3_router.l3_router_plugin import L3RouterPlugin
    from stevedore import driver

    offered = L3RouterPlugin._supported_extension_aliases
    gone = {"dvr", "l3-ha", "network_ha", "router-admin-state-down-before-update"}
    assert {*gone, "router"} <= set(offered)
    manager: driver.DriverManager[Any]
    manager = driver.DriverManager("neutron.ml2.mechanism_drivers", "onestack_external_agents")
    for _ in range(2):
        manager.driver().initialize()
    assert not gone & set(offered) and "router" in offered
    assert not [name for name in sys.modules if "ovsdb.ovn_client" in name]


def metadata_byte_for_byte() -> None:
    """What nova answers, a real one of it; upstream unpacks it or ends with an exception."""
    import gzip
    import http.server
    import threading

    import requests
    import webob
    from neutron.common import metadata

    from onestack.components.neutron.inside import metadata_changes

    bodies = {
        "/text": "größe\n".encode(),
        "/bytes": bytes(range(256)) * 150,
        "/gzip": gzip.compress(b"#cloud-config\n"),
        "/empty": b"",
    }

    class Nova(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = bodies.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "text/plain; charset=UTF-8")
            self.send_header("Content-Length", str(4 if found is None else len(found)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"none" if found is None else found)

        def log_message(self, *said: Any) -> None:
            pass

    nova = http.server.HTTPServer(("127.0.0.1", 0), Nova)
    threading.Thread(target=nova.serve_forever, daemon=True).start()
    handler = metadata.MetadataProxyHandlerBaseSocketServer

    def answered(path: str) -> tuple[bytes, dict[str, str], bytes]:
        answer = requests.get(f"http://127.0.0.1:{nova.server_port}{path}", timeout=10)
        made = handler._http_response(answer, webob.Request.blank(path))
        head, _, body = made.partition(b"\r\n\r\n")
        first, *rest = head.split(b"\r\n")
        headers = dict(line.decode().lower().split(": ", 1) for line in rest)
        return first, headers, body

    # The reasons for all this: should upstream do it one day, ours can go.
    try:
        answered("/bytes")
    except UnicodeDecodeError:
        pass
    else:
        raise AssertionError("upstream passes on what is no text")
    assert answered("/gzip")[2] == b"#cloud-config\n"
    metadata_changes.pass_bytes_on()
    for path, body in bodies.items():
        first, headers, got = answered(path)
        assert (first, got) == (b"HTTP/1.0 200 OK", body), (path, first, got[:40])
        assert headers["content-length"] == str(len(body)) and "content-encoding" not in headers
        assert headers["content-type"] == "text/plain; charset=utf-8"
    assert answered("/other")[0] == b"HTTP/1.0 404 Not Found"


def metadata_port_without_mtu() -> None:
    """Upstream's agent makes a number of the word None."""
    import types

    from neutron.agent.ovn.metadata import agent
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.impl_idl_ovn import OvsdbSbOvnIdl

    from onestack.components.neutron.inside import metadata_changes

    ids = {"neutron:cidrs": "10.0.0.2/24", "neutron:mtu": "None"}
    port = types.SimpleNamespace(
        mac=["fa:16:3e:00:00:01 10.0.0.2"], external_ids=ids, logical_port="one"
    )
    OvsdbSbOvnIdl.get_metadata_port = lambda self, datapath: port
    southbound = object.__new__(OvsdbSbOvnIdl)
    asked = object.__new__(agent.MetadataAgent)
    asked._chassis = "here"
    datapath = types.SimpleNamespace(uuid="u", external_ids={"logical-switch": "u"})
    guest = types.SimpleNamespace(datapath=datapath)
    agent.ovn_utils.get_network_name_from_datapath = lambda datapath: "net"
    agent.MetadataAgent.sb_idl = southbound
    agent.MetadataAgent._vif_ports = lambda self, ports: [guest]
    agent.MetadataAgent._get_port_ip4_ips_and_ip6_flag = lambda self, port: (["10.0.0.9"], False)
    OvsdbSbOvnIdl.get_ports_on_chassis = lambda self, *asked, **more: [guest]

    try:
        asked._get_provision_params(datapath)
    except ValueError:
        pass
    else:
        raise AssertionError("upstream believes the word")
    metadata_changes.believe_no_mtu_that_is_none()
    assert asked._get_provision_params(datapath)[3].mtu == 0
    ids["neutron:mtu"] = "1442"
    assert asked._get_provision_params(datapath)[3].mtu == 1442


def mtu_of_metadata_ports() -> None:
    import types

    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb import ovn_client
    from oslo_config import cfg

    from onestack.components.neutron.inside import ovn_changes

    cfg.CONF([], project="neutron", default_config_files=[])
    client_class = ovn_client.OVNClient
    assert "port.get('network', {}).get('mtu')" in inspect.getsource(client_class._get_port_options)
    empty = ovn_client.OvnPortInfo(*[""] * len(ovn_client.OvnPortInfo._fields))

    def found(self: Any, context: Any, port: dict[str, Any]) -> Any:
        return empty._replace(mtu=str(port.get("network", {}).get("mtu")) if port["local"] else "")

    client_class._get_port_options = found
    ovn_changes.tell_mtu_of_metadata_ports()
    client = object.__new__(client_class)
    client._plugin_property = None
    networks = types.SimpleNamespace(get_network=lambda context, network: {"mtu": 1442})
    client_class._plugin = networks
    one = {"local": True, "network_id": "n"}
    assert client._get_port_options(None, one).mtu == "1442"
    assert client._get_port_options(None, {**one, "network": {"mtu": 900}}).mtu == "900"
    assert client._get_port_options(None, {**one, "local": False}).mtu == ""


def names_that_nobody_owns() -> None:
    """With an OVN that has no options for names, whose task upstream repeats with an error."""
    import types

    from futurist import periodics
    from neutron.conf.plugins.ml2.drivers.ovn import ovn_conf
    from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.maintenance import (
        DBInconsistenciesPeriodics,
    )

    from onestack.components.neutron.inside import ovn_changes

    class Older:
        external_ids = {"ls_name": "one"}  # noqa: RUF012

    ovn_conf.register_opts()
    row = Older()
    has_options = False

    def present(table: str, column: str) -> bool:
        return has_options

    made = object.__new__(DBInconsistenciesPeriodics)
    made._nb_idl = types.SimpleNamespace(
        is_col_present=present,
        dns_list=lambda: types.SimpleNamespace(execute=lambda check_error: [row]),
    )
    DBInconsistenciesPeriodics.has_lock = True

    def ended() -> str:
        try:
            made.set_ovn_owned_dns_option()
        except (periodics.NeverAgain, AttributeError) as error:
            return type(error).__name__
        return "to be repeated"

    assert ended() == "AttributeError"
    assert periodics.is_periodic(made.set_ovn_owned_dns_option)
    ovn_changes.own_no_names_where_nobody_can()
    assert ended() == "NeverAgain"
    assert periodics.is_periodic(made.set_ovn_owned_dns_option)
    has_options = True
    assert ended() == "AttributeError", "asked of upstream's where it can be"


def local_networks_are_wired() -> None:
    """The agent is told flat of a local network with a physical network, else what it is."""
    from neutron.agent.rpc import CacheBackedPluginApi

    from onestack.components.neutron.inside import agent_changes

    kinds = {
        "out": ("local", "extnet", "flat"),
        "in": ("local", None, "local"),
        "vlan": ("vlan", "extnet", "vlan"),
    }

    def details(self: Any, context: Any, device: str, *more: Any) -> dict[str, Any]:
        if device not in kinds:
            return {"device": device}
        kind, physical, _ = kinds[device]
        return {"device": device, "network_type": kind, "physical_network": physical}

    assert "'network_type': segment.network_type" in inspect.getsource(
        CacheBackedPluginApi.get_device_details
    )
    CacheBackedPluginApi.get_device_details = details
    agent_changes.wire_local_networks()
    api = object.__new__(CacheBackedPluginApi)
    for device, (_, _, wanted) in kinds.items():
        assert api.get_device_details(None, device, "agent")["network_type"] == wanted
    assert api.get_device_details(None, "gone", "agent") == {"device": "gone"}


def programs_with_a_loader() -> None:
    """The agent knows its monitor, be it of this Debian's or of another's."""
    import subprocess
    from pathlib import Path

    from neutron.agent.common import async_process
    from neutron.agent.linux import utils

    from onestack.components.neutron.inside import agent_changes

    assert async_process.utils.pid_invoked_with_cmdline is utils.pid_invoked_with_cmdline
    loader = next(Path("/lib64").glob("ld-linux*"))
    words = ("--library-path", "/lib", "--argv0", "monitor", "/bin/sleep", "60")
    with subprocess.Popen([loader, *words]) as started, subprocess.Popen(["sleep", "60"]) as plain:
        try:
            # A program has its arguments an instant after it has begun.
            while not all("60" in utils.get_cmdline_from_pid(p.pid) for p in (started, plain)):
                time.sleep(0.01)
            known = functools.partial(utils.pid_invoked_with_cmdline, started.pid)
            assert not known(["monitor", "60"])
            agent_changes.see_through_loaders()
            assert known(["monitor", "60"])
            assert not known(["monitor", "61"]) and not known(["sleep", "60"])
            assert utils.pid_invoked_with_cmdline(plain.pid, ["sleep", "60"])
        finally:
            started.kill()
            plain.kill()


def _plugin() -> Any:
    """Upstream's core plugin with our driver, and its tables in a file of this trial's."""
    import tempfile
    from pathlib import Path

    import sqlalchemy
    from neutron import manager
    from neutron.common import config
    from neutron.db.migration.models import head
    from neutron_lib import rpc
    from neutron_lib.db import api
    from neutron_lib.plugins import directory
    from oslo_config import cfg

    os.environ["ONESTACK_EXTERNAL_NETWORK"] = "extnet"
    file = Path(tempfile.mkdtemp()) / "neutron.conf"
    file.write_text(
        "[DEFAULT]\ncore_plugin = ml2\nservice_plugins =\ntransport_url = fake:/\n"
        f"state_path = {file.parent}\n[database]\nsqlite_synchronous = false\n"
        f"connection = sqlite:///{file.parent}/db\n"
        "[ml2]\nmechanism_drivers = openvswitch,onestack_external_agents\n"
        "type_drivers = local,flat,vlan\nproject_network_types = local\nextension_drivers =\n"
        "[ml2_type_vlan]\nnetwork_vlan_ranges = extnet:1:9\n"
    )
    config.register_common_config_options()
    cfg.CONF(["--config-file", str(file)], project="neutron")
    rpc.init(cfg.CONF)
    engine = api.CONTEXT_WRITER.get_engine()
    head.get_metadata().create_all(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
    manager.init()
    return directory.get_plugin()


class _Networks:
    """Networks and ports by names."""

    def __init__(self) -> None:
        from neutron_lib import context

        self.plugin, self.context = _plugin(), context.get_admin_context()
        self.ids: dict[str, str] = {}
        self.owned = {"tenant_id": "p", "project_id": "p", "admin_state_up": True}

    def make(
        self, name: str, kind: str = "local", physical: str | None = None, external: bool = True
    ) -> str | None:
        """Its physical network."""
        asked = {
            "name": name,
            "shared": False,
            "router:external": external,
            "provider:network_type": kind,
            "provider:physical_network": physical,
            "provider:segmentation_id": 7 if kind == "vlan" else None,
        }
        made = self.plugin.create_network(self.context, {"network": self.owned | asked})
        self.ids[name] = made["id"]
        answer: str | None = made["provider:physical_network"]
        assert answer == self.led(name)
        return answer

    def led(self, name: str) -> str | None:
        found = self.plugin.get_network(self.context, self.ids[name])
        physical: str | None = found["provider:physical_network"]
        return physical

    def port(self, network: str, owner: str = "") -> str:
        from neutron_lib.constants import ATTR_NOT_SPECIFIED

        asked = {
            "network_id": self.ids[network],
            "name": "",
            "device_id": "",
            "device_owner": owner,
            "fixed_ips": ATTR_NOT_SPECIFIED,
            "mac_address": ATTR_NOT_SPECIFIED,
        }
        made = self.plugin.create_port(self.context, {"port": self.owned | asked})
        return str(made["id"])

    def drop_port(self, port: str) -> None:
        self.plugin.delete_port(self.context, port, l3_port_check=False)

    def set_external(self, network: str, external: bool) -> None:
        self.plugin.update_network(
            self.context, self.ids[network], {"network": {"router:external": external}}
        )


def untagged_frames() -> None:
    """One network at a time has those of the external bridge: the first with a port for them."""
    from neutron.api import api_common
    from neutron.plugins.ml2.common.exceptions import MechanismDriverError
    from neutron_lib.api import faults

    net = _Networks()

    def refused(do: Any, *words: str) -> None:
        try:
            do()
        except MechanismDriverError as error:
            answer = api_common.convert_exception_to_http_exc(error, faults.FAULT_MAP, None)
            assert answer.code == 409, answer
            assert all(word in answer.body.decode() for word in words), answer.body
        else:
            raise AssertionError("it is not refused")

    # The first has them; a second's routers need none. A leg is no reason to take them.
    assert net.make("one") == "extnet"
    assert net.make("two") is None
    assert net.make("inner", external=False) is None
    leg = net.port("two", "network:router_gateway")
    assert (net.led("one"), net.led("two")) == ("extnet", None)
    # who has a port for them gets them from who has none
    guest = net.port("two")
    assert (net.led("one"), net.led("two")) == (None, "extnet")
    net.port("one", "network:dhcp")
    net.port("inner")
    assert (net.led("one"), net.led("two"), net.led("inner")) == (None, "extnet", None)
    # A flat one is told what is in its way; a VLAN and another bridge's have nothing to do with it.
    refused(lambda: net.make("flat", "flat", "extnet"), net.ids["two"], "type vlan")
    assert net.make("tagged", "vlan", "extnet") == "extnet"
    assert net.make("other", "flat", "elsewhere") == "elsewhere"
    # wired ports are wired
    net.drop_port(leg)
    refused(lambda: net.set_external("two", False), "made internal once")
    net.drop_port(guest)
    # its DHCP's port was there before: the agent would not wire it
    net.port("one")
    assert (net.led("one"), net.led("two")) == (None, "extnet")
    assert net.make("flat", "flat", "extnet") == "extnet"
    assert net.led("two") is None
    net.port("two")
    assert net.led("two") is None
    net.plugin.delete_network(net.context, net.ids["flat"])
    # in and out again, without ports
    assert net.make("three") == "extnet"
    net.set_external("three", False)
    assert net.led("three") is None
    net.set_external("three", True)
    assert net.led("three") == "extnet"
    net.set_external("inner", True)
    assert net.led("inner") is None
    # One that had a port before, such as DHCP's, is led by the next `up`, which tells the agent.
    net.port("inner", "compute:nova")
    assert net.led("inner") is None


def untagged_frames_of_many_at_once() -> None:
    """Whoever decides does so after the others, and by what is committed.

    A transaction does not see what was committed since it began: played here, where one that
    writes keeps all others from it.
    """
    import sqlalchemy
    from neutron_lib.db import api

    from onestack.components.neutron.inside import external_openvswitch

    net = _Networks()
    driver: Any = external_openvswitch.OpenvswitchExternalNetworkDriver
    untagged, statements = driver._untagged, list[str]()
    blind = False

    def seen(self: Any, view: Any) -> list[Any]:
        return [] if blind and view is net.context else untagged(self, view)

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    driver._untagged = seen
    sqlalchemy.event.listen(api.CONTEXT_WRITER.get_engine(), "before_cursor_execute", note)

    def waits(do: Any) -> bool:
        statements.clear()
        do()
        return any("alembic_version" in statement for statement in statements)

    assert waits(lambda: net.make("one")) and net.led("one") == "extnet"
    assert not waits(lambda: net.make("inner", external=False))
    assert not waits(lambda: net.port("inner"))
    blind = True
    assert waits(lambda: net.make("two")) and net.led("two") is None
    # "one" has none: its way is taken, also by who does not see that it has it
    assert waits(lambda: net.port("two"))
    assert (net.led("one"), net.led("two")) == (None, "extnet")
    assert waits(lambda: net.port("one"))
    assert (net.led("one"), net.led("two")) == (None, "extnet")
    assert not waits(lambda: net.port("two"))


def untagged_frames_that_are_anothers_by_now() -> None:
    """The flow of a network whose last port goes is the one by which another's come in."""
    import types

    from neutron.plugins.ml2.drivers.openvswitch.agent import vlanmanager
    from neutron.plugins.ml2.drivers.openvswitch.agent.ovs_neutron_agent import OVSNeutronAgent

    from onestack.components.neutron.inside import agent_changes

    class Bridge:
        """Of flows from one port: match to VLAN."""

        def __init__(self) -> None:
            self.flows: dict[Any, int] = {}

        def provision_local_vlan(self, port: str, lvid: int, **more: Any) -> None:
            self.flows[port, more["segmentation_id"]] = lvid

        def reclaim_local_vlan(self, port: str, **more: Any) -> None:
            if "segmentation_id" in more:
                self.flows.pop((port, more["segmentation_id"]), None)

    def agent() -> tuple[Any, Bridge]:
        made = object.__new__(OVSNeutronAgent)
        vlanmanager.LocalVlanManager().mapping.clear()
        made.vlan_manager = vlanmanager.LocalVlanManager()
        made.available_local_vlans, made._local_vlan_hints = {1, 2, 3}, {}
        made.enable_distributed_routing = False
        made.int_br, made.phys_brs = Bridge(), {"extnet": Bridge(), "two": Bridge()}
        made.int_ofports = made.phys_ofports = {"extnet": "e", "two": "t"}
        made.conf = types.SimpleNamespace()
        for network, kind, physical, tag in (
            ("old", "flat", "extnet", None),
            ("now", "flat", "extnet", None),
            ("else", "flat", "two", None),
        ):
            made.provision_local_vlan(network, kind, physical, tag)
        return made, made.int_br

    def vlan(agent: Any, network: str) -> int:
        return int(agent.vlan_manager.get(network, None).vlan)

    one, flows = agent()
    one.reclaim_local_vlan("old", None)
    # The reason for all this: should upstream do it one day, ours can go.
    assert ("e", None) not in flows.flows
    agent_changes.keep_untagged_frames()
    one, flows = agent()
    one.reclaim_local_vlan("old", None)
    assert flows.flows == {("e", None): vlan(one, "now"), ("t", None): vlan(one, "else")}
    one.reclaim_local_vlan("now", None)
    assert flows.flows == {("t", None): vlan(one, "else")}
    one.reclaim_local_vlan("gone", None)


def legs() -> None:
    """Straight into the external bridge, or by the integration bridge with its wires and tags."""
    from onestack.components.neutron.inside.interface import straight_out

    def leg(kind: str, physical: str | None, tag: int | None) -> bool:
        details = {"network_type": kind, "physical_network": physical, "segmentation_id": tag}
        return straight_out(details, "extnet")

    assert leg("local", "extnet", None) and leg("flat", "extnet", None)
    # by the name that the physical network had before
    assert leg("local", "outside", None)
    # as with the option that upstream once had, and before a port is bound
    assert leg("vxlan", None, 9) and leg("local", None, None) and straight_out({}, "extnet")
    assert not leg("vlan", "extnet", 7)
    assert not leg("flat", "two", None) and not leg("vlan", "two", 7)


def interface_drivers() -> None:
    """They override what upstream has, with upstream's own arguments."""
    from neutron.agent.linux import interface
    from stevedore import driver

    os.environ["ONESTACK_EXTERNAL_BRIDGE"] = "br-ex"
    for name in ("onestack_external", "onestack_dhcp"):
        manager: driver.DriverManager[Any]
        manager = driver.DriverManager("neutron.interface_drivers", name)
        ours = manager.driver
        assert isinstance(ours, type) and issubclass(ours, interface.OVSInterfaceDriver)
        for method, made in vars(ours).items():
            theirs = getattr(interface.OVSInterfaceDriver, method, None)
            if not inspect.isfunction(made) or theirs is None or method == "__init__":
                continue
            known = inspect.signature(made).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                assert list(known) == list(inspect.signature(theirs).parameters), method


def dead_ports() -> None:
    from onestack.components.neutron.inside import stale_ports

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
    import onestack.components.neutron.inside.preload
    import onestack.components.neutron.inside.preload_ovn  # noqa: F401


def warm_openvswitch() -> None:
    import onestack.components.neutron.inside.preload
    import onestack.components.neutron.inside.preload_openvswitch  # noqa: F401


def warm_fwaas() -> None:
    import onestack.components.neutron.inside.preload
    import onestack.components.neutron.inside.preload_fwaas
    import onestack.components.neutron.inside.preload_ovn  # noqa: F401


RULE = {
    "enabled": True,
    "ip_version": 4,
    "protocol": "tcp",
    "source_ip_address": None,
    "destination_ip_address": None,
    "source_port": None,
    "destination_port": "22",
    "action": "allow",
}


def firewall_groups_of_one_router() -> None:
    """Each in chains of its own; ports come and go; nothing is done twice."""
    from neutron.agent.linux import iptables_manager
    from neutron_fwaas.services.firewall.service_drivers.agents.drivers import conntrack_base

    from onestack.components.neutron.inside import fwaas_iptables

    forgotten: list[str] = []

    def forget(namespace: str) -> None:
        forgotten.append(namespace)

    fwaas_iptables.forget_connections = forget
    conntrack_base.load_and_init_conntrack_driver = lambda: None

    class Router:
        def __init__(self) -> None:
            self.router: dict[str, Any] = {}
            self.iptables_manager = iptables_manager.IptablesManager(namespace="qrouter-1")
            self.iptables_manager.defer_apply_off = lambda: None

        def rules(self, version: int = 4) -> list[str]:
            table = self.iptables_manager.get_tables(version)["filter"]
            name = iptables_manager.binary_name
            return [
                text.replace(f"{name}-", "")
                for text in map(str, table.rules)
                if "v4" in text or "v6" in text
            ]

    def group(name: str, *rules: dict[str, Any], up: bool = True) -> dict[str, Any]:
        made: dict[str, Any] = {"id": name * 8, "admin_state_up": up}
        return made | {"ingress_rule_list": list(rules), "egress_rule_list": []}

    driver, router = fwaas_iptables.Driver(), Router()
    refuse = RULE | {"action": "reject", "destination_port": None, "protocol": None}
    refuse6 = refuse | {"ip_version": 6}
    driver.create_firewall_group("legacy", [(router, ["p1"])], group("a", RULE, refuse, refuse6))
    both = ["-m state --state INVALID -j DROP", "-m state --state RELATED,ESTABLISHED -j RETURN"]
    first = [
        *(f"-A iv4aaaaaaaa {rule}" for rule in both),
        "-A iv4aaaaaaaa -p tcp -m tcp --dport 22 -j RETURN",
        "-A iv4aaaaaaaa -j REJECT --reject-with icmp-port-unreachable",
        "-A iv4aaaaaaaa -j DROP",
        "-A FORWARD -o qr-p1 -j iv4aaaaaaaa",
        *(f"-A ov4aaaaaaaa {rule}" for rule in both),
        "-A ov4aaaaaaaa -j DROP",
        "-A FORWARD -i qr-p1 -j ov4aaaaaaaa",
    ]
    assert router.rules() == first, router.rules()
    refusal6 = "-A iv6aaaaaaaa -j REJECT --reject-with icmp6-port-unreachable"
    assert router.rules(6)[2] == refusal6, router.rules(6)
    # another group leaves the first one's rules as they are, also when it goes
    driver.update_firewall_group("legacy", [(router, ["p2"])], group("b", RULE))
    assert router.rules()[: len(first)] == first
    # what is so already is not done again: connections would hang for a moment
    driver.update_firewall_group("legacy", [(router, ["p2"])], group("b", RULE))
    assert len(forgotten) == 2, forgotten
    driver.delete_firewall_group("legacy", [(router, ["p2"])], group("b", RULE))
    assert router.rules() == first, router.rules()
    # a second port joins the first, and the first leaves
    driver.update_firewall_group("legacy", [(router, ["p3"])], group("a", RULE))
    jumps = [rule for rule in router.rules() if "FORWARD -o" in rule]
    assert jumps == [f"-A FORWARD -o qr-p{n} -j iv4aaaaaaaa" for n in (1, 3)], jumps
    driver.delete_firewall_group("legacy", [(router, ["p1"])], group("a", RULE))
    jumps = [rule for rule in router.rules() if "FORWARD -o" in rule]
    assert jumps == ["-A FORWARD -o qr-p3 -j iv4aaaaaaaa"], jumps
    # off: nothing passes, not even what goes on
    driver.update_firewall_group("legacy", [(router, ["p3"])], group("a", RULE, up=False))
    inside = [rule for rule in router.rules() if "FORWARD" not in rule]
    assert inside == ["-A iv4aaaaaaaa -j DROP", "-A ov4aaaaaaaa -j DROP"], inside
    driver.delete_firewall_group("legacy", [(router, ["p3"])], group("a", up=False))
    assert router.rules() == []


def firewall_service_drivers() -> None:
    """What ours take from upstream's by name is there, and they can be loaded by their names."""
    from neutron.services import provider_configuration
    from neutron_fwaas.services.firewall.service_drivers.agents import agents
    from neutron_fwaas.services.firewall.service_drivers.ovn import firewall_l3_driver

    from onestack.components.neutron.inside import fwaas_agents, fwaas_ovn

    for ours, upstream, names in (
        (fwaas_agents.Driver, agents.FirewallAgentDriver, ("_need_pending_update",)),
        (
            fwaas_ovn.Driver,
            firewall_l3_driver.OVNFwaasDriver,
            (
                "_init_firewall_group",
                "_add_rules_for_firewall_group",
                "_clear_rules_for_firewall_group",
                "update_firewall_group_postcommit",
            ),
        ),
    ):
        assert issubclass(ours, upstream)
        path = f"{ours.__module__}.{ours.__name__}"
        assert provider_configuration.get_provider_driver_class(path) == path
        for name in names:
            assert callable(getattr(upstream, name))
            if name in vars(ours):
                assert (
                    list(inspect.signature(vars(ours)[name]).parameters)
                    == list(inspect.signature(vars(upstream)[name]).parameters)
                ), name  # fmt: skip
    agent = object.__new__(fwaas_agents.Driver)
    up, down = ({"admin_state_up": on, "ports": ["p"]} for on in (True, False))
    assert agent._need_pending_update(up, down)
    assert not agent._need_pending_update(up, up)
    assert not agent._need_pending_update(up | {"ports": []}, down | {"ports": []})
    assert not agent.is_supported_l2_port({})


def networks_that_change_while_dhcp_starts() -> None:
    """By upstream's own state of the agent: gone, new and changed ones are looked at once more."""
    from types import SimpleNamespace

    import oslo_messaging as messaging
    from neutron.agent.dhcp import agent as dhcp_agent
    from oslo_config import cfg

    from onestack.components.neutron.inside import dhcp_changes

    def network(name: str, *ports: str) -> Any:
        made = [{"id": port, "fixed_ips": []} for port in ports]
        return {"id": name, "subnets": [], "ports": made, "mtu": 1450}

    answers = [
        [network("kept", "p"), network("gone"), network("grown", "p")],
        [network("grown", "p", "q"), network("new"), network("kept", "p")],
    ]
    cfg.CONF([])
    manager = object.__new__(dhcp_agent.DhcpAgent)
    assert callable(manager.schedule_resync) and callable(manager.sync_state)
    scheduled: list[Any] = []
    manager.schedule_resync = lambda reason, network_id=None: scheduled.append(network_id)

    def call(context: Any, method: str, host: str, enable_dhcp_filter: bool) -> Any:
        assert (method, enable_dhcp_filter) == ("get_active_networks_info", False)
        if not answers:
            raise messaging.MessagingTimeout("nobody")
        return answers.pop(0)

    def started() -> None:
        """As upstream's own, which makes this then."""
        manager.plugin_rpc = api = object.__new__(dhcp_agent.DhcpPluginApi)
        api.host = "here"
        api.client = SimpleNamespace(prepare=lambda **more: SimpleNamespace(call=call))
        manager.plugin_rpc.get_active_networks_info(enable_dhcp_filter=False)

    agent = SimpleNamespace(manager=manager, start=started, stop=lambda: None)
    dhcp_changes.Attentive(agent).start()
    assert scheduled == ["gone", "grown", "new"], scheduled
    # Who is not answered looks at all once more.
    scheduled.clear()
    answers.append([network("kept")])
    dhcp_changes.Attentive(agent).start()
    assert scheduled == [None]
    # That upstream's own start was not answered upstream itself sees to.
    scheduled.clear()
    agent.start = lambda: None
    dhcp_changes.Attentive(agent).start()
    assert scheduled == []


if __name__ == "__main__":
    globals()[sys.argv[1]]()
