"""Aodh, in a child of the zygote (services' environment).

The API and upstream's evaluator, listener and notifier share a process. Each of
those is a few threads; they talk over the bus and the database, as they would apart.
"""

from __future__ import annotations

import sys
from socket import socket

from onestack.model.process import Process
from onestack.runtime import service, wsgi


def all_of_it(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["aodh", "--config-file", spec.arguments["config"]]
    from aodh import evaluator, event, notifier
    from aodh import service as aodh_service
    from aodh.api import app

    conf = aodh_service.prepare_service(with_gmr=False, prog="aodh")
    application = app.load_app(conf)
    # they begin when they are made
    workers = [
        notifier.AlarmNotifierService(0, conf),
        event.EventAlarmEvaluationService(0, conf),
        evaluator.AlarmEvaluationService(0, conf),
    ]
    try:
        wsgi.serve(application, sockets["api"])
    finally:
        service.end(*map(service.Worker, workers))
