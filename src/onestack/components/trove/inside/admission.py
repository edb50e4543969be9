"""What the API refuses at once, because it could never work here (services' environment)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

LARGEST = 1 << 20
"""Bytes of a request that is looked at; upstream refuses none of this size that makes sense."""
_INSTANCES = re.compile(r"/v1\.0/[^/]+/instances/?")
NO_NETWORK = (
    "A database needs a network of the project to be reached by: name one with --nic "
    "net-id=NETWORK (openstack: --nic net-id=…; its subnet with --nic subnet-id=…)."
)


class Admission:
    """``application``, without instances that would have no network but the service's own."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Who shows no token is refused by the application, without his request being read.
        making = environ["REQUEST_METHOD"] == "POST" and _INSTANCES.fullmatch(environ["PATH_INFO"])
        if making and environ.get("HTTP_X_AUTH_TOKEN"):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            if 0 < length <= LARGEST:
                body = environ["wsgi.input"].read(length)
                environ["wsgi.input"] = io.BytesIO(body)
                if _without_network(body):
                    return _refusal(start_response)
        return self._application(environ, start_response)


def _without_network(body: bytes) -> bool:
    try:
        wanted = json.loads(body)["instance"]
        return not wanted.get("nics")
    except (ValueError, TypeError, KeyError, AttributeError):
        # What it is instead is the application's to say.
        return False


def _refusal(start_response: StartResponse) -> Iterable[bytes]:
    answer = {"badRequest": {"code": 400, "message": NO_NETWORK}}
    start_response("400 Bad Request", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
