"""``api``: a GET with a token is answered well."""

from __future__ import annotations

from onestack.model.process import ApiProbe
from onestack.supervise.probes import http
from onestack.supervise.probes.tokens import Tokens


def attempt(probe: ApiProbe, tokens: Tokens, timeout: float) -> str:
    """What is to be known about it."""
    if missing := tokens.missing():
        return without_token(probe.url, missing, timeout)
    tokens.get(probe.url, timeout)
    return ""


def without_token(url: str, why: str, timeout: float) -> str:
    """Before the first contents are made there is nobody to ask as: is it there at all?"""
    http.answers(url.replace("{project_id}", "none"), timeout)
    return f"asked without a token: {why}"
