"""Where the TLS front's certificates lie."""

from __future__ import annotations

from pathlib import Path

from onestack.model.context import Context
from onestack.model.declarations import Frontend


def tls_directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "tls"


def front_file(ctx: Context, front: Frontend) -> Path:
    """Certificate and key of one port: its own, or those of all."""
    if front.certificate:
        return own_file(ctx, front.name)
    return tls_directory(ctx) / "server.pem"


def own_file(ctx: Context, front: str) -> Path:
    """Where the port ``front`` would have a certificate and a key of its own."""
    return tls_directory(ctx) / f"front-{front}.pem"
