"""Where the TLS front's certificates lie."""

from __future__ import annotations

from pathlib import Path

from onestack.components.base import Context, Front


def tls_directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "tls"


def certificate_of(ctx: Context, front: Front) -> Path:
    """Certificates and key in one file, as HAProxy reads it."""
    own = f"front-{front.name}.pem"
    return tls_directory(ctx) / (own if front.certificate else "server.pem")


def fronts(ctx: Context) -> list[Front]:
    return [front for component in ctx.components for front in component.fronts(ctx)]
