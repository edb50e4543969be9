"""Where the TLS front's certificates lie."""

from __future__ import annotations

from pathlib import Path

from onestack.components.base import Context


def tls_directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "tls"
