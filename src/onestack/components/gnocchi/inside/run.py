"""Gnocchi, in a child of the zygote (services' environment).

The API and the workers of upstream's ``gnocchi-metricd`` share a process, each
worker a thread of it: they meet in files and in the database only, and the
locks of the file driver hold between threads as between processes.
"""

from __future__ import annotations

import logging
import sys
import threading
from socket import socket

from onestack.model.process import Process
from onestack.runtime import service, wsgi


def all_of_it(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["gnocchi", "--config-file", spec.arguments["config"]]
    from gnocchi import incoming, storage
    from gnocchi.cli import api, metricd
    from gnocchi.rest import app

    from onestack.components.gnocchi.inside import mappers

    mappers.make_alone()
    conf = api.prepare_service()
    _log_as_others_do()
    # what upstream's gnocchi-upgrade makes besides the index; there already, it is left alone
    storage.get_driver(conf).upgrade()
    incoming.get_driver(conf).upgrade(spec.arguments["sacks"])
    kinds = (metricd.MetricProcessor, metricd.MetricJanitor, metricd.MetricReporting)
    workers = [kind(0, conf) for kind in kinds]
    for worker in workers:
        threading.Thread(target=worker.run, name=worker.name, daemon=True).start()
    try:
        wsgi.serve(app.load_app(conf), sockets["api"])
    finally:
        service.end(*map(service.Worker, workers))


def _log_as_others_do() -> None:
    """daiquiri's lines as oslo.log writes them: `onestack doctor` reads both.

    One of them is left out: upstream's application prints all of its configuration when it is
    made, with the passwords of the database and of keystone in it.
    """
    logging.getLogger("gnocchi.rest.app").setLevel(logging.WARNING)
    line = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] %(message)s"
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%d %H:%M:%S"))
