"""Neutron's server and agents, each in a child of the zygote (services' environment).

The functions do what upstream's ``neutron/cmd`` and ``neutron/server`` do,
without the launcher's master process beside each worker.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket as socket_module
import sys
import tempfile
import threading
import time
from pathlib import Path
from socket import socket
from typing import Any

from onestack.model.process import Process
from onestack.runtime import service, wsgi

LOG = logging.getLogger(__name__)
AGAIN = 75
"""Exit code of an agent that wants to be started anew (EX_TEMPFAIL)."""


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["neutron-api"]
    # Upstream keeps the server's start time in a file, which must not be that of
    # an earlier start.
    temporary = Path(spec.arguments["temporary"])
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    tempfile.tempdir = str(temporary)
    from neutron import policy
    from neutron.wsgi import api as module

    policy.init()
    wsgi.serve(module.application, sockets["api"])


def workers(spec: Process, sockets: dict[str, socket]) -> None:
    """RPC server, periodic workers and (with OVN) its maintenance worker, as threads.

    Upstream has a process for each, which does nothing but start these objects.
    """
    sys.argv[:] = ["neutron-workers"]
    from neutron import server

    def run() -> None:
        from neutron import manager
        from neutron import service as neutron_service
        from neutron.api import extensions
        from neutron.plugins.ml2.drivers.ovn.mech_driver.ovsdb.worker import MaintenanceWorker
        from neutron_lib.api import attributes
        from neutron_lib.callbacks import events, registry, resources

        manager.init()
        extensions.PluginAwareExtensionManager.get_instance().extend_resources(
            "2.0", attributes.RESOURCES
        )
        objects = neutron_service._get_plugins_workers()
        if spec.arguments["rpc"]:
            objects += neutron_service._get_rpc_workers()
        registry.publish(resources.PROCESS, events.AFTER_SPAWN, None)
        service.serve(*(_Aside(o) if isinstance(o, MaintenanceWorker) else o for o in objects))

    server.boot_server(run)


class _Aside:
    """Starts OVN's maintenance worker in a thread: upstream has it sleep for 20 s first."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def start(self) -> None:
        threading.Thread(target=self._worker.start, daemon=True).start()

    def stop(self) -> None:
        self._worker.stop()


def openvswitch_agent(spec: Process, sockets: dict[str, socket]) -> None:
    # Upstream's OpenFlow server loses the error and waits for the switch for ever.
    controller = (spec.arguments["controller"], 6633)
    with socket_module.socket() as trial:
        trial.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_REUSEADDR, 1)
        try:
            trial.bind(controller)
            trial.listen()
        except OSError as error:
            sys.exit(
                "the agent cannot be the switch's controller at {}:{}: {}".format(
                    *controller, error
                )
            )
    _agent("neutron-openvswitch-agent", spec)
    from neutron.plugins.ml2.drivers.openvswitch.agent import main

    from onestack.components.neutron.inside import agent_changes

    agent_changes.see_through_loaders()
    agent_changes.wire_local_networks()
    agent_changes.keep_untagged_frames()
    main.main()


def l3_agent(spec: Process, sockets: dict[str, socket]) -> None:
    _agent("neutron-l3-agent", spec)
    from neutron.agent import l3_agent as module
    from neutron.agent.l3 import agent as _manager  # noqa: F401 (registers its options)
    from neutron_lib import constants
    from neutron_lib.agent import topics
    from oslo_config import cfg

    module.register_opts(cfg.CONF)
    _serve(
        spec,
        constants.AGENT_PROCESS_L3,
        topics.L3_AGENT,
        "neutron.agent.l3.agent.L3NATAgentWithStateReport",
    )


def dhcp_agent(spec: Process, sockets: dict[str, socket]) -> None:
    _agent("neutron-dhcp-agent", spec)
    from neutron.agent import dhcp_agent as module
    from neutron_lib import constants
    from neutron_lib.agent import topics
    from oslo_config import cfg

    module.register_options(cfg.CONF)
    _serve(
        spec,
        constants.AGENT_PROCESS_DHCP,
        topics.DHCP_AGENT,
        "neutron.agent.dhcp.agent.DhcpAgentWithStateReport",
    )


def metadata_agent(spec: Process, sockets: dict[str, socket]) -> None:
    _agent("neutron-metadata-agent", spec)
    from neutron.agent import metadata_agent as module

    from onestack.components.neutron.inside import metadata_changes

    metadata_changes.pass_bytes_on()
    module.main()


def metering_agent(spec: Process, sockets: dict[str, socket]) -> None:
    _agent("neutron-metering-agent", spec)
    from neutron.common import config
    from neutron.conf.agent import common as agent_config
    from neutron.conf.services import metering_agent as options
    from neutron.services.metering.agents import metering_agent as _manager  # noqa: F401
    from neutron_lib import constants
    from neutron_lib.agent import topics
    from oslo_config import cfg

    config.register_common_config_options()
    options.register_metering_agent_opts()
    agent_config.register_agent_state_opts_helper(cfg.CONF)
    _serve(
        spec,
        constants.AGENT_PROCESS_METERING,
        topics.METERING_AGENT,
        "neutron.services.metering.agents.metering_agent.MeteringAgentWithStateReport",
    )


def ovn_agent(spec: Process, sockets: dict[str, socket]) -> None:
    """OVN's agent with its metadata extension."""
    _agent("neutron-ovn-agent", spec)
    from neutron.agent.ovn.agent import ovn_neutron_agent
    from neutron.common import config
    from neutron.conf import common
    from neutron.conf.agent.ovn.ovn_neutron_agent import config as agent_config
    from oslo_config import cfg
    from oslo_log import log

    from onestack.components.neutron.inside import metadata_changes

    metadata_changes.pass_bytes_on()
    metadata_changes.believe_no_mtu_that_is_none()
    log.register_options(cfg.CONF)
    common.register_cli_script_opts()
    common.register_core_common_config_opts()
    agent_config.register_opts()
    config.init(sys.argv[1:])
    config.setup_logging()
    agent_config.setup_privsep()
    service.serve(ovn_neutron_agent.OVNNeutronAgent(cfg.CONF))


def _agent(name: str, spec: Process) -> None:
    # Before any import of neutron: the names of iptables chains come from argv.
    files = [part for path in spec.arguments["config"] for part in ("--config-file", path)]
    sys.argv[:] = [name, *files]


def _serve(spec: Process, binary: str, topic: str, manager: str) -> None:
    from neutron import service as neutron_service
    from neutron.common import config
    from neutron.conf.agent import common as agent_config
    from oslo_config import cfg

    config.init(sys.argv[1:])
    config.setup_logging()
    agent_config.setup_privsep()
    if watched := spec.arguments.get("switch"):
        from onestack.components.neutron.inside import stale_ports

        stale_ports.remove("qrouter-" if binary.endswith("l3-agent") else "qdhcp-")
        threading.Thread(target=_watch_switch, args=(Path(watched),), daemon=True).start()
    agent: Any = neutron_service.Service.create(
        binary=binary,
        topic=topic,
        manager=manager,
        report_interval=cfg.CONF.AGENT.report_interval,
    )
    if binary.endswith("dhcp-agent"):
        from onestack.components.neutron.inside import dhcp_changes

        agent = dhcp_changes.Attentive(agent)
    service.serve(agent)


def _watch_switch(pid_file: Path) -> None:
    """End this agent when Open vSwitch was restarted.

    In a userspace datapath its ports in network namespaces die with it, and
    upstream's agents make them anew only at their own start.
    """

    def current() -> str:
        try:
            return pid_file.read_text()
        except OSError:
            return ""

    first = current()
    while True:
        time.sleep(2)
        now = current()
        if first and now and now != first:
            LOG.warning("Open vSwitch was restarted: starting anew to plug its ports again")
            os._exit(AGAIN)
        first = first or now
