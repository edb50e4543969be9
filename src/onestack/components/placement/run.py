"""Placement's API, in a child of the warm parent (services' environment)."""

from __future__ import annotations

import sys
from socket import socket

from onestack.supervise import wsgi
from onestack.supervise.spec import Process


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["placement-api"]
    from placement.wsgi import init_application

    wsgi.serve(init_application(), sockets["api"])
