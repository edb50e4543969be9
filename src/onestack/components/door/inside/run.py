"""The door's answers, in a child of the supervisor (services' environment)."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from socket import socket

from onestack.cluster.settings import DoorSettings
from onestack.components.door.inside.admitting import admit
from onestack.components.door.inside.app import Door
from onestack.model.process import Process
from onestack.runtime import wsgi

THREADS = 16


def answers(spec: Process, sockets: dict[str, socket]) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    settings = DoorSettings.read(Path(spec.arguments["settings"]))
    wsgi.serve(Door(settings, lambda: admit(settings.admit)), sockets["api"], THREADS)
