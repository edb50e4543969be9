"""Notes below ROOT/etc of what a cloud was given: by them it is known while it is down, too.

Standard library only: preflight reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onestack.components.provision import keys
from onestack.images import fetch
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.errors import BadAnswers
from onestack.model.findings import Finding, refuse, warn
from onestack.network import demo


def place(ctx: Context, of: str) -> Path:
    return ctx.cloud.etc / f"provision-{of}"


def files(ctx: Context) -> Iterator[ConfigFile]:
    """Written before what they tell of is made."""
    noted = keys.sources(ctx.answers) if ctx.offers("image") else {}
    if ctx.offers("network") and demo.wanted(ctx.answers):
        noted["network"] = [demo.PUBLIC]
    for of, lines in noted.items():
        # a URL may have a password in it
        yield ConfigFile(place(ctx, of), "".join(f"{line}\n" for line in lines), mode=0o600)


def lost(ctx: Context) -> Iterator[Finding]:
    """Files of images that are not there; none is read again once its image is in the cloud."""
    for of, sources in keys.sources(ctx.answers).items() if ctx.offers("image") else ():
        note = place(ctx, of)
        made = note.exists() and note.read_text().splitlines() == sources
        for source in filter(None, sources):
            try:
                fetch.check(source)
            except BadAnswers as error:
                if made:
                    why = "what was made from it is in the cloud, and could not be made again"
                    yield warn(error.what, why)
                else:
                    yield refuse(error.what, error.why, error.cure)
                continue
            if made or fetch.cached(source, CACHE / "images"):
                continue
            if server := fetch.unknown_server(source):
                yield refuse(
                    f"the image {fetch.shown(source)} cannot be had",
                    f"the name {server} does not resolve; {_named_by(of, sources, source)}",
                    "check the network and its name servers, name a file that is here, or "
                    + _without(of),
                )


def _named_by(of: str, sources: list[str], source: str) -> str:
    part = keys.PARTS[sources.index(source)] if of == "parts" else ""
    key = f"{keys.UEC}{part}_URL" if part else keys.URL
    return f"{key} names it"


def _without(of: str) -> str:
    if of == "parts":
        return f"leave {', '.join(f'{keys.UEC}{part}_URL' for part in keys.PARTS)} empty"
    return f"leave {keys.URL} empty: the image is then a small guest made here"
