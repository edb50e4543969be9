"""``http``: a GET is answered, be it by a refusal."""

from __future__ import annotations

from onestack.model.process import HttpProbe
from onestack.supervise.probes.base import Wrong
from onestack.supervise.probes.request import excerpt, get


def attempt(probe: HttpProbe, timeout: float) -> None:
    answers(probe.url, timeout)


def answers(url: str, timeout: float) -> None:
    """Raises `Wrong` for an error of the server's own."""
    status, body = get(url, timeout)
    if status >= 500:
        raise Wrong(f"GET {url} answers {status}{excerpt(body)}")
