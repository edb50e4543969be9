"""The dashboard, served by cheroot (the dashboard's environment)."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socket import socket
from typing import Any

from cheroot.wsgi import PathInfoDispatcher
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.exceptions import SuspiciousOperation
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponseNotFound
from django.views import static

from onestack.model.process import Process
from onestack.runtime import wsgi

HOUR = 3600.0
NEVER_CHANGES = "public, max-age=31536000, immutable"
RARELY_CHANGES = "public, max-age=3600"


class StaticFiles(StaticFilesHandler):  # type: ignore[misc]
    """Serves what was collected; everything else goes to the application."""

    def get_response(self, request: Any) -> Any:
        try:
            return self.serve(request)
        except (Http404, SuspiciousOperation):
            return HttpResponseNotFound("There is no such file.\n", content_type="text/plain")

    def serve(self, request: Any) -> Any:
        path = self.file_path(request.path)
        # What was compressed has a hash of its content in its name, and a twin.
        compressed = Path(settings.STATIC_ROOT, f"{path}.gz").is_file()
        packed = compressed and "gzip" in request.headers.get("Accept-Encoding", "")
        answer = static.serve(
            request, f"{path}.gz" if packed else path, document_root=settings.STATIC_ROOT
        )
        answer.headers["Cache-Control"] = NEVER_CHANGES if compressed else RARELY_CHANGES
        if compressed:
            answer.headers["Vary"] = "Accept-Encoding"
        return answer


def to_the_dashboard(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """At ``/``, the way to where the dashboard is."""
    if environ["PATH_INFO"] == "/":
        start_response("302 Found", [("Location", settings.WEBROOT), ("Content-Length", "0")])
        return []
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"The dashboard is at " + settings.WEBROOT.encode() + b"\n"]


def forget_sessions() -> None:
    """Remove, every hour, the files of sessions that are over."""
    engine = importlib.import_module(settings.SESSION_ENGINE)
    engine.SessionStore.clear_expired()
    later = threading.Timer(HOUR, forget_sessions)
    later.daemon = True
    later.start()


def serve(spec: Process, sockets: dict[str, socket]) -> None:
    dashboard = get_wsgi_application()
    places = {settings.WEBROOT.rstrip("/"): dashboard, "/": to_the_dashboard}
    forget_sessions()
    wsgi.serve(StaticFiles(PathInfoDispatcher(places)), sockets["web"])
