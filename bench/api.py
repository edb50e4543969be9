"""The least that a client of a cloud needs, of Python's standard library alone.

What it does besides asking is next to nothing, so that a figure is the cloud's.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MICROVERSIONS = {
    "compute": {"OpenStack-API-Version": "compute 2.90"},
    "block-storage": {"OpenStack-API-Version": "volume 3.70"},
}

CLOSED = (
    *(http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError),
    ssl.SSLEOFError,
)
"""How a connection looks that the other end has closed."""


class Refused(Exception):
    """The cloud answered otherwise than it had to."""


class Api:
    """As the user of ``OS_*`` variables. One connection per service, kept where that keeps it."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self.env = env
        self.connections: dict[str, http.client.HTTPConnection] = {}
        self.urls: dict[str, str] = {"identity": env["OS_AUTH_URL"].rstrip("/")}
        self.token = self.project = ""

    def log_in(self) -> None:
        """A new token, and with it where each service is."""
        answer, headers = self._send("POST", "identity", "/auth/tokens", self.login(), (201,))
        self.token = headers["X-Subject-Token"]
        self.project = answer["token"]["project"]["id"]
        for service in answer["token"]["catalog"]:
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public" and service["type"] != "identity":
                    self.urls[service["type"]] = endpoint["url"].rstrip("/")
        for kind, version in (("network", "/v2.0"), ("image", "/v2")):
            if kind in self.urls and not self.urls[kind].endswith(version):
                self.urls[kind] += version
        for old in ("volumev3", "volume"):
            if old in self.urls:
                self.urls.setdefault("block-storage", self.urls[old])

    def login(self) -> dict[str, Any]:
        env = self.env
        user = {
            "name": env["OS_USERNAME"],
            "password": env["OS_PASSWORD"],
            "domain": {"name": env["OS_USER_DOMAIN_NAME"]},
        }
        project = {
            "name": env["OS_PROJECT_NAME"],
            "domain": {"name": env["OS_PROJECT_DOMAIN_NAME"]},
        }
        password = {"methods": ["password"], "password": {"user": user}}
        return {"auth": {"identity": password, "scope": {"project": project}}}

    def get(self, service: str, path: str) -> Any:
        return self._send("GET", service, path, None, (200,))[0]

    def post(self, service: str, path: str, body: Any) -> Any:
        return self._send("POST", service, path, body, (200, 201, 202))[0]

    def put(self, service: str, path: str, body: Any) -> Any:
        return self._send("PUT", service, path, body, (200,))[0]

    def delete(self, service: str, path: str) -> None:
        self._send("DELETE", service, path, None, (200, 202, 204, 404))

    def upload(self, path: str, data: bytes) -> None:
        self._send("PUT", "image", path, data, (204,))

    def _send(
        self, method: str, service: str, path: str, body: Any, accept: tuple[int, ...]
    ) -> tuple[Any, http.client.HTTPMessage]:
        base = urlsplit(self.urls[service])
        headers = {"X-Auth-Token": self.token, **MICROVERSIONS.get(service, {})}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        if base.netloc not in self.connections:
            self.connections[base.netloc] = self._connection(base.scheme, base.netloc)
        connection = self.connections[base.netloc]
        kept = connection.sock is not None
        try:
            connection.request(method, base.path + path, body, headers)
            response = connection.getresponse()
        except CLOSED:
            connection.close()
            if not kept:
                raise
            # A server may close a connection that was idle.
            connection.request(method, base.path + path, body, headers)
            response = connection.getresponse()
        text = response.read()
        if response.status not in accept:
            raise Refused(f"{method} {service} {path}: {response.status} {text[:500]!r}")
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return (json.loads(text) if text and is_json else None), response.headers

    def _connection(self, scheme: str, place: str) -> http.client.HTTPConnection:
        if scheme == "https":
            context = ssl.create_default_context(cafile=self.env.get("OS_CACERT"))
            return http.client.HTTPSConnection(place, timeout=300, context=context)
        return http.client.HTTPConnection(place, timeout=300)
