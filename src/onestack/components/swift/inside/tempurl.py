"""Temporary URLs, with a reason where one is refused for how it was signed.

Upstream answers "Temp URL invalid" to all that is wrong. Older clients sign with SHA-1, which
is not allowed, and nothing tells their users so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from swift.common.digest import extract_digest_and_algorithm
from swift.common.middleware import tempurl
from swift.common.swob import HTTPUnauthorized


class TempURL(tempurl.TempURL):  # type: ignore[misc]
    def _invalid(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        signature = tempurl.get_temp_url_info(env)[0]
        algorithm = _algorithm(signature) if signature else ""
        if not algorithm or algorithm in self.allowed_digests or env["REQUEST_METHOD"] == "HEAD":
            refused: Iterable[bytes] = super()._invalid(env, start_response)
            return refused
        body = (
            f"401 Unauthorized: Temp URL invalid: it is signed with {algorithm}, allowed are "
            f"{', '.join(self.allowed_digests)}\n"
        )
        answer: Iterable[bytes] = HTTPUnauthorized(body=body, content_type="text/plain")(
            env, start_response
        )
        return answer


def _algorithm(signature: str) -> str:
    """Its name, or nothing for what is no signature."""
    try:
        return str(extract_digest_and_algorithm(signature)[0])
    except ValueError:
        return ""


def filter_factory(global_conf: dict[str, str], **local: str) -> Callable[[Any], TempURL]:
    """Upstream's, which also tells clients what is allowed, with the class above."""
    make = tempurl.filter_factory(global_conf, **local)

    def made(app: Any) -> TempURL:
        upstream = make(app)
        return TempURL(app, upstream.conf, upstream.logger)

    return made
