"""HTTP requests of probes, by plain `http.client`: to URLs and to ``unix:PATH:/URL``."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse

from onestack.supervise.probes.base import Wrong
from onestack.supervise.probes.connect import open_connection

LARGEST = 8 * 1024 * 1024
"""Bytes of an answer that are read."""


class _Connection(http.client.HTTPConnection):
    """Plain HTTP to ``tcp:`` or ``unix:`` targets."""

    def __init__(self, target: str, host: str, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._target = target
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = open_connection(self._target, self._seconds)


class _TlsConnection(_Connection):
    """Whether a TLS front answers; who it is, is the clients' matter. No secret is sent."""

    def connect(self) -> None:
        super().connect()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def request(
    url: str,
    timeout: float,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in small letters) and body. Raises `Wrong` or `Unreachable`."""
    connection: _Connection
    if url.startswith("unix:"):
        path, _, rest = url.removeprefix("unix:").partition(":")
        connection = _Connection(f"unix:{path}", "localhost", timeout)
    else:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        kind = _TlsConnection if parts.scheme == "https" else _Connection
        connection = kind(f"tcp:{parts.hostname}:{port}", parts.netloc, timeout)
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, rest or "/", body, headers or {})
        response = connection.getresponse()
        content = response.read(LARGEST)
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content
    except TimeoutError:
        raise Wrong(f"{url} does not answer within {timeout:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"{url}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def get(url: str, timeout: float, token: str = "") -> tuple[int, bytes]:
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["X-Auth-Token"] = token
    status, _, body = request(url, timeout, headers=headers)
    return status, body


def excerpt(body: bytes) -> str:
    """The end of a sentence on an answer: its first words, unless it is a page."""
    text = " ".join(body[:400].decode(errors="replace").split())
    return f": {text[:120]}" if text and not text.startswith("<") else ""
