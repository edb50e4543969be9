"""While the database does not answer, neither do services: 503 and when to try again.

Upstream's services answer 500 for whatever they did not expect, also for a database that is
restarted at that moment; clients then give up what they would repeat after a 503. So whoever
serves a request is noted when oslo.db says that the connection is lost, here or at the other end
of a call, and a 500 that comes of it is sent as 503.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

AGAIN = 5
"""Seconds after which a client may ask again: so long a restart of the server takes."""
MESSAGE = "The database does not answer at the moment. Try again in some seconds."
_LOST = "DBConnectionError"

_here = threading.local()


def answering(application: Application) -> Application:
    """``application`` with that in its answers. Call it when all of the service is imported."""
    lost = _watched()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _here.lost = replaced = False

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            nonlocal replaced
            if status.startswith("500") and _here.lost:
                replaced = True
                return lambda data: None
            return start_response(status, headers, *more)

        try:
            body = application(environ, start)
        except lost:
            return _unavailable(environ, start_response)
        if not replaced:
            return body
        if close := getattr(body, "close", None):
            close()
        return _unavailable(environ, start_response)

    return answer


def _unavailable(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    error = {"code": 503, "title": "Service Unavailable", "message": MESSAGE}
    content = json.dumps({"error": error}).encode()
    start_response(
        "503 Service Unavailable",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Retry-After", str(AGAIN)),
        ],
    )
    # To HEAD the answer has no content: a connection that is kept would take it for the next one.
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [content]


def _watched() -> tuple[type[Exception], ...]:
    """The class of errors that say so, which note it from now on; none without oslo.db."""
    if exceptions := sys.modules.get("oslo_db.exception"):
        _note(exceptions.DBConnectionError, lambda arguments: True)
    if client := sys.modules.get("oslo_messaging.rpc.client"):
        # The conductor's or an engine's, as the one who called it learns of it.
        _note(client.RemoteError, lambda arguments: arguments[:1] == (_LOST,))
    return (exceptions.DBConnectionError,) if exceptions else ()


def _note(kind: Any, counts: Callable[[tuple[Any, ...]], bool]) -> None:
    made = kind.__init__
    if getattr(made, "notes", False):
        return

    @functools.wraps(made)
    def init(self: Any, *arguments: Any, **more: Any) -> None:
        if counts(arguments):
            _here.lost = True
        made(self, *arguments, **more)

    init.notes = True  # type: ignore[attr-defined]
    kind.__init__ = init
