"""The prober's own token, fetched when first needed and when it is refused or too old."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from onestack.supervise.probes.base import Unreachable, Wrong
from onestack.supervise.probes.request import excerpt, get, request

EARLY = 60.0
"""Seconds before its end at which a token is replaced."""


class Tokens:
    """Of one identity (`onestack.model.process.Roster.identity`). Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._identity: Mapping[str, str] = {}
        self._token = ""
        self._project = ""
        self._until = 0.0

    def configure(self, identity: Mapping[str, str]) -> None:
        with self._lock:
            if identity != self._identity:
                self._identity, self._token = identity, ""

    @property
    def host(self) -> str:
        """As which agents of this host report."""
        return self._identity["host"]

    def missing(self) -> str | None:
        """Why there cannot be a token yet, or ``None``."""
        file = self._identity.get("file", "")
        if not file or not self._identity.get("auth_url"):
            return "no identity is configured"
        return None if Path(file).exists() else f"{file} is not there yet"

    def get(self, url: str, timeout: float) -> bytes:
        """GET ``url`` with a token; ``{project_id}`` in it is its project's.

        Raises `Wrong` unless it is answered well, and `Unreachable`.
        """
        for _ in (1, 2):
            token, project = self._current(timeout)
            asked = url.replace("{project_id}", project)
            status, body = get(asked, timeout, token)
            if status != 401:
                break
            self._refused(token)
        if not 200 <= status < 300:
            raise Wrong(f"GET {asked} answers {status}{excerpt(body)}")
        return body

    def _refused(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._token = ""

    def _current(self, timeout: float) -> tuple[str, str]:
        """Token and project id; raises `Wrong`."""
        with self._lock:
            if not self._token or time.monotonic() > self._until:
                self._fetch(timeout)
            return self._token, self._project

    def _fetch(self, timeout: float) -> None:
        try:
            known = json.loads(Path(self._identity["file"]).read_text())
            domain = {"name": known.get("domain", "Default")}
            user = {"name": known["username"], "password": known["password"], "domain": domain}
            project = {"name": known["project_name"], "domain": domain}
        except (OSError, ValueError, KeyError) as error:
            raise Wrong(f"no token: {self._identity['file']}: {error!r}") from None
        wanted = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
        }
        url = self._identity["auth_url"].rstrip("/")
        if not url.endswith("/v3"):
            url += "/v3"
        try:
            status, headers, body = request(
                f"{url}/auth/tokens",
                timeout,
                "POST",
                {"Content-Type": "application/json", "Connection": "close"},
                json.dumps(wanted),
            )
        except (Unreachable, Wrong) as error:
            raise Wrong(f"no token: {error}") from None
        if status != 201:
            raise Wrong(f"no token: keystone answers {status}{excerpt(body)}")
        content = json.loads(body)["token"]
        self._token, self._project = headers["x-subject-token"], content["project"]["id"]
        expires = datetime.fromisoformat(content["expires_at"].replace("Z", "+00:00"))
        self._until = time.monotonic() + expires.timestamp() - time.time() - EARLY
