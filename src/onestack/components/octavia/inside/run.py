"""Octavia in a child of the zygote (services' environment).

Upstream has a process for the API, five for the driver agent (a master, three
that listen and fork for each request, OVN's agent), one for housekeeping, and for
amphorae two of the worker (a master too) and a dozen of the health manager (a master, two,
and a pool of each core's number twice). Here they are threads of one: none of them forks,
what is imported is there once, and what a process that ended has left undone is nobody's.
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
    """The API, the driver agent, housekeeping, and what the providers have."""
    files = spec.arguments["config"]
    sys.argv[:] = ["octavia-api", *(f"--config-file={file}" for file in files)]
    from octavia.api import app
    from octavia.api.drivers.driver_agent import driver_listener
    from octavia.cmd import house_keeping
    from octavia.common import policy

    from onestack.components.octavia.inside import interrupted, refusals, statuses

    application = app.setup_app(argv=sys.argv)
    # It would say for each rule that the older roles still count, as is wanted.
    policy.get_enforcer().suppress_deprecation_warnings = True
    if cure := spec.arguments["cure"]:
        refusals.explain(cure)
    left = interrupted.settle()
    statuses.heed()
    handlers = {
        "status": driver_listener.StatusRequestHandler,
        "stats": driver_listener.StatsRequestHandler,
        "get": driver_listener.GetRequestHandler,
    }
    for name in spec.arguments["listeners"]:
        _thread(name, _Listener(sockets[name], handlers[name]).serve_forever)
    _thread("housekeeping", house_keeping.db_cleanup)
    beside = []
    if "ovn" in spec.arguments["providers"]:
        from ovn_octavia_provider import agent

        _thread("agent", agent.OvnProviderAgent, threading.Event())
    if "amphora" in spec.arguments["providers"]:
        from onestack.components.octavia.inside import controller

        for name, work in controller.threads(left, spec.arguments["grace"]).items():
            _thread(name, work)
        beside = [controller.worker()]
    wsgi.serve(application, sockets["api"], beside=beside)


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
