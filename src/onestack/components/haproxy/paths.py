"""Where the TLS front's certificates lie."""

from __future__ import annotations

from pathlib import Path

from onestack.model.context import Context
from onestack.model.declarations import Frontend

ADDRESS_PREFIX = "address-"


def tls_directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "tls"


def front_file(ctx: Context, front: Frontend) -> Path:
    """Certificate and key of one port: its own, or those of all at its address."""
    if front.certificate:
        return own_file(ctx, front.name)
    return address_file(ctx, front.address) if front.address else tls_directory(ctx) / "server.pem"


def address_file(ctx: Context, address: str) -> Path:
    """Of all ports at an address that is not the public one."""
    return tls_directory(ctx) / f"{ADDRESS_PREFIX}{address}.pem"


def own_file(ctx: Context, front: str) -> Path:
    """Where the port ``front`` would have a certificate and a key of its own."""
    return tls_directory(ctx) / f"front-{front}.pem"
