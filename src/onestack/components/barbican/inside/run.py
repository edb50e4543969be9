"""Barbican's API, in a child of the zygote (services' environment).

Upstream has three programs beside it: a worker that carries out orders, which the API does
itself where there is no queue; one that tries orders again, which only plug-ins of
certificate authorities and hardware ask for; and one that hears of projects that went.
"""

from __future__ import annotations

from socket import socket

from onestack.components.barbican.inside import settings
from onestack.kernel import import_blocker
from onestack.model.process import Process
from onestack.runtime import policies, wsgi


def api(spec: Process, sockets: dict[str, socket]) -> None:
    import_blocker.refuse("eventlet")
    settings.read(spec.arguments["config"])
    from barbican.common import policy
    from barbican.plugin.crypto import manager
    from barbican.plugin.interface import secret_store
    from paste import deploy

    application = deploy.loadapp(f"config:{spec.arguments['paste']}")
    # It would look for these when the first request comes, or two of them at once.
    policy.get_enforcer()
    policies.load()
    secret_store.get_manager()
    manager.get_manager()
    wsgi.serve(application, sockets["api"])
