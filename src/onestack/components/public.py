"""Where a cloud's users find it."""

from __future__ import annotations

from onestack.components.base import Context
from onestack.components.clients import host


def pages(ctx: Context) -> dict[str, str]:
    """Title of a component -> URL of what it shows in a browser."""
    return {
        component.title or component.name: (
            f"{'http' if front.plain else 'https'}://{host(ctx.public)}{front.page}"
        )
        for component in ctx.components
        for front in component.fronts(ctx)
        if front.page
    }


def endpoints(ctx: Context) -> dict[str, str]:
    """Service type -> public URL, as the catalog has it."""
    return {
        endpoint.type: f"https://{host(ctx.public)}:{endpoint.port}{endpoint.path}"
        for component in ctx.components
        for identity in component.identity(ctx)
        for endpoint in identity.endpoints
    }
