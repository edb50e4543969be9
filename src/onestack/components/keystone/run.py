"""Keystone's API, in a child of the warm parent (services' environment)."""

from __future__ import annotations

import sys
from socket import socket

from onestack.supervise import refusal, wsgi
from onestack.supervise.spec import Process


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["keystone-api"]
    # oslo.cache would look whether it is in use.
    refusal.refuse("eventlet")
    from keystone.common.rbac_enforcer.enforcer import RBACEnforcer
    from keystone.server.wsgi import initialize_public_application

    application = initialize_public_application()
    # Made here, before the first request: as in a request it says nothing of old rules.
    RBACEnforcer.suppress_deprecation_warnings = True
    _ = RBACEnforcer()._enforcer
    wsgi.serve(application, sockets["api"])
