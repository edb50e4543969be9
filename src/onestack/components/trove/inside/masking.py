"""No password and no token in the log (services' environment).

Upstream logs whole requests, and without being asked for more: the header with the client's
token, and the body with the password that a database's root gets. Some it masks before with
oslo's mask, which ends at a quote inside a password: what is left of it is no member any more.
"""

from __future__ import annotations

import logging
import re

from oslo_utils import strutils
from oslo_utils.strutils import mask_password

_HIDDEN = "***"
_HEADERS = re.compile(r"(\bx-[\w-]*token\s*:\s*|\bauthorization\s*:\s*(?:\w+\s+)?)[^\s'\"]+", re.I)
_MEMBERS = re.compile(
    r"""((["'])[\w.-]*(?:pass|token|secret)[\w.-]*\2\s*:\s*)"""
    r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""",
    re.I | re.S,
)
"""Of JSON and of Python's dictionaries. oslo's own pattern ends at a quote inside the word."""
_TOKENS = re.compile(r"\bgAAAA[\w-]{16,}={0,2}")
"""Keystone's, wherever they stand."""


def masked(message: object, secret: str = _HIDDEN) -> str:
    """Called as oslo's ``mask_password`` is, and for it."""
    text = message.decode(errors="ignore") if isinstance(message, bytes) else str(message)
    text = _MEMBERS.sub(rf'\1"{secret}"', text)
    text = _HEADERS.sub(rf"\1{secret}", text)
    return str(mask_password(_TOKENS.sub(secret, text), secret))


class Masked(logging.Formatter):
    """What ``inner`` makes of a record, its traceback too, without what is secret."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        try:
            return masked(self._inner.format(record))
        except (TypeError, ValueError, KeyError):
            # Python's handler would print the arguments as they are.
            return masked(f"{record.levelname} {record.name} {record.msg} (not formatted)")


def mask() -> None:
    """All that this process logs from now on, and what upstream masks itself."""
    strutils.mask_password = masked
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, Masked):
            handler.setFormatter(Masked(handler.formatter))
