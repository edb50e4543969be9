"""Keystone's API, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from socket import socket

from onestack.kernel import import_blocker
from onestack.model.process import Process
from onestack.runtime import wsgi


def api(spec: Process, sockets: dict[str, socket]) -> None:
    sys.argv[:] = ["keystone-api"]
    # oslo.cache would look whether it is in use.
    import_blocker.refuse("eventlet")
    from keystone.common.rbac_enforcer.enforcer import RBACEnforcer
    from keystone.server.wsgi import initialize_public_application

    application = initialize_public_application()
    # Made here, before the first request: as in a request it says nothing of old rules.
    RBACEnforcer.suppress_deprecation_warnings = True
    _ = RBACEnforcer()._enforcer
    wsgi.serve(application, sockets["api"])
