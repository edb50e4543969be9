"""Ceilometer, in a child of the zygote (services' environment).

What upstream's ``ceilometer-polling`` and ``ceilometer-agent-notification`` run
shares a process: threads that talk over the bus, as they would apart.
"""

from __future__ import annotations

import logging
import sys
from socket import socket

from onestack.model.process import Process
from onestack.runtime import service

TELL_TOKENS = ("ceilometer.pipeline.sample",)
"""Modules that print whole notifications where debugging is on: whoever made a change is in
them with the token."""


def all_of_it(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["ceilometer", "--config-file", spec.arguments["config"]]
    from ceilometer import gnocchi_client, notification
    from ceilometer import service as ceilometer_service
    from ceilometer.cmd import polling as command
    from ceilometer.polling import manager
    from keystoneauth1 import loading
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    conf.register_cli_opts(command.CLI_OPTS)
    # Upstream's client of cinder looks into this section, and nobody declares it.
    loading.register_adapter_conf_options(conf, "cinder")
    conf.set_default("valid_interfaces", ["internal"], "cinder")
    ceilometer_service.prepare_service(conf=conf)
    for name in TELL_TOKENS:
        logging.getLogger(name).setLevel(logging.INFO)
    # What upstream's ceilometer-upgrade does: the store learns the release's kinds of
    # resources; known ones are left alone.
    gnocchi_client.upgrade_resource_types(conf)
    # Publishes first: what the first look finds is taken at once.
    services = (
        notification.NotificationService(0, conf),
        manager.AgentManager(0, conf, conf.polling_namespaces),
    )
    service.serve(*map(service.Worker, services))
