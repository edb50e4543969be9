"""Toys that run in the services' environment: a WSGI application, a user of privsep."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from socket import socket
from typing import Any

from onestack.model.process import Process


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    size = 0
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"]))
    if path == "/read":
        while piece := environ["wsgi.input"].read(65536):
            size += len(piece)
    body = json.dumps({"pid": os.getpid(), "path": path, "size": size}).encode()
    status = "401 Unauthorized" if path == "/refuse" else "200 OK"
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


def web(spec: Process, sockets: dict[str, socket]) -> None:
    from onestack.runtime import wsgi

    # as neutron does
    signal.signal(signal.SIGTERM, lambda *_: print("upstream's own handler", flush=True))
    wsgi.serve_many(
        [(application, sockets["tcp"], 4), (application, sockets["unix"], 2)], (Beside(),)
    )


class Beside:
    """A service in the process of an API."""

    def start(self) -> None:
        print("beside: started", flush=True)

    def stop(self) -> None:
        print("beside: stopped", flush=True)


def privileged(spec: Process, sockets: dict[str, socket]) -> None:
    """Call privileged functions of neutron and os-brick as an unprivileged user."""
    import neutron.privileged
    import os_brick.privileged
    from oslo_config import cfg
    from oslo_log import log

    log.register_options(cfg.CONF)
    cfg.CONF([], project="toy", default_config_files=[])
    log.setup(cfg.CONF, "toy")
    contexts = (neutron.privileged.namespace_cmd, os_brick.privileged.default)
    for context in contexts:
        cfg.CONF.set_override("helper_command", spec.arguments["helper"], context.cfg_section)
    from neutron.privileged.agent.linux import ip_lib
    from os_brick.privileged import rootwrap

    name = spec.arguments["namespace"]
    ip_lib.create_netns(name)
    there = name in ip_lib.list_netns()
    ip_lib.remove_netns(name)
    out, _ = rootwrap.execute_root("id", "-u")
    facts = {"uid": os.getuid(), "there": there, "root": out.strip()}
    Path(spec.arguments["file"]).write_text(json.dumps(facts))
    # its client gone, a daemon goes, too
    contexts[0].stop()
    signal.pause()
