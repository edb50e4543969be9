"""Glance's API, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from socket import socket

from onestack.kernel import import_blocker
from onestack.model.process import Process
from onestack.runtime import wsgi


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["glance-api"]
    # It imports the drivers of all stores there are, to know their options; oslo.cache looks
    # whether eventlet is in use.
    import_blocker.refuse("boto3", "eventlet", "oslo_vmware")
    from glance.common import wsgi_app

    from onestack.components.glance.inside import reasons

    reasons.tell()
    wsgi.serve(wsgi_app.init_app(), sockets["api"])
