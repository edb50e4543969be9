"""Heat in one child of the zygote: both APIs and the engine (services' environment).

The APIs hold nothing of their own: they pass what they are asked on to the
engine, through the bus, also within one process. What is called is what
upstream's ``heat/wsgi`` modules and ``heat/cmd/engine.py`` call, without the
launcher's master process beside each worker.
"""

from __future__ import annotations

import signal
import sys
import threading
from socket import socket
from types import FrameType
from typing import Any

from onestack.model.process import Process
from onestack.runtime import policies, wsgi


def heat(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["heat", "--config-file", spec.arguments["config"]]
    applications: list[tuple[wsgi.Application, socket, int]] = []
    if "cfn" in sockets:
        from heat.api.cfn import wsgi as cfn

        applications.append((cfn.init_application(), sockets["cfn"], 8))
    # The one that is made last leaves its settings to the engine.
    from heat.api.openstack import wsgi as api

    applications.append((api.init_application(), sockets["api"], 8))
    engine = _engine()
    policies.load()
    engine.start()

    def end(number: int, frame: FrameType | None) -> None:
        _stop(engine)

    # `serve_many` calls it beside the end of the APIs.
    signal.signal(signal.SIGTERM, end)
    wsgi.serve_many(applications)


def _engine() -> Any:
    from heat.common import config, policy
    from heat.engine import service, template
    from heat.rpc import api as rpc_api
    from oslo_config import cfg

    config.startup_sanity_check()
    policy.get_enforcer()
    # ends here, with the reason, if no kind of template can be read
    template._get_template_extension_manager()
    return service.EngineService(cfg.CONF.host, rpc_api.ENGINE_TOPIC)


def _stop(engine: Any) -> None:
    """Its three listeners side by side: an idle one looks up only every few seconds."""
    servers = (engine._rpc_server, engine.listener._server, engine.worker_service._rpc_server)
    stopping = [threading.Thread(target=one.stop, daemon=True) for one in servers if one]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
    engine.stop()
