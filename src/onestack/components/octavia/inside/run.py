"""Octavia in a child of the zygote (services' environment).

Upstream has a process for the API, five for the driver agent (a master, three
that listen and fork for each request, OVN's agent) and one for housekeeping.
Here they are threads of one: none of them forks, and the parts of OVN's
driver that run in the API and in the agent share one copy of OVN's database.
"""

from __future__ import annotations

import logging
import os
import socketserver
import sys
import threading
from collections.abc import Callable
from socket import socket
from typing import Any

from onestack.model.process import Process
from onestack.runtime import wsgi

LOG = logging.getLogger("onestack.octavia")


def api(spec: Process, sockets: dict[str, socket]) -> None:
    """The API, the driver agent and housekeeping."""
    sys.argv[:] = ["octavia-api", "--config-file", spec.arguments["config"]]
    from octavia.api import app
    from octavia.api.drivers.driver_agent import driver_listener
    from octavia.cmd import house_keeping
    from octavia.common import policy
    from ovn_octavia_provider import agent

    from onestack.components.octavia.inside import interrupted

    application = app.setup_app(argv=sys.argv)
    # It would say for each rule that the older roles still count, as is wanted.
    policy.get_enforcer().suppress_deprecation_warnings = True
    interrupted.settle()
    handlers = {
        "status": driver_listener.StatusRequestHandler,
        "stats": driver_listener.StatsRequestHandler,
        "get": driver_listener.GetRequestHandler,
    }
    for name in spec.arguments["listeners"]:
        _thread(name, _Listener(sockets[name], handlers[name]).serve_forever)
    ended = threading.Event()
    _thread("agent", agent.OvnProviderAgent, ended)
    _thread("housekeeping", house_keeping.db_cleanup)
    wsgi.serve(application, sockets["api"])


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Upstream's handlers on a socket that listens already; upstream's server forks for each."""

    daemon_threads = True

    def __init__(self, given: socket, handler: Any) -> None:
        super().__init__(str(given.getsockname()), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = given


def _thread(name: str, work: Callable[..., Any], *arguments: Any) -> None:
    """Run ``work`` beside the API. Should it fail, so does the process."""

    def run() -> None:
        try:
            work(*arguments)
        except BaseException:
            LOG.exception("%s has failed", name)
            os._exit(1)

    threading.Thread(target=run, name=name, daemon=True).start()
