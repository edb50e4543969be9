"""Placement's API, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from socket import socket

from onestack.kernel import import_blocker
from onestack.model.process import Process
from onestack.runtime import wsgi


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["placement-api"]
    # oslo.cache would look whether it is in use: imported in the first request's thread, it
    # takes over what tells of that thread's end, and the API's own end waits for it.
    import_blocker.refuse("eventlet")
    from placement.wsgi import init_application

    wsgi.serve(init_application(), sockets["api"])
