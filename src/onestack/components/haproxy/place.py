"""Where the TLS front's certificates lie."""

from __future__ import annotations

from pathlib import Path

from onestack.components.base import Context, Front


def tls_directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "tls"


def front_file(ctx: Context, front: Front) -> Path:
    """Certificate and key of one port: its own, or those of all."""
    name = f"front-{front.name}" if front.certificate else "server"
    return tls_directory(ctx) / f"{name}.pem"
