"""Where a cloud's users find it."""

from __future__ import annotations

from onestack.model.context import Context, in_url


def pages(ctx: Context) -> dict[str, str]:
    """Title of a component -> URL of what it shows in a browser."""
    return {
        declared.title: (f"{'http' if front.plain else 'https'}://{in_url(ctx.public)}{front.page}")
        for declared in ctx.model
        for front in declared.frontends
        if front.page
    }


def endpoints(ctx: Context) -> dict[str, str]:
    """Service type -> public URL, as the catalog has it."""
    return {
        endpoint.type: f"https://{in_url(ctx.public)}:{endpoint.port}{endpoint.path}"
        for declared in ctx.model
        for identity in declared.identity
        for endpoint in identity.endpoints
    }
