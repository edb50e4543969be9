"""Components that the answers switch off, and parts of those that are on.

They are taken out of the catalog, so that no client is sent to a closed port.
What they made stays, to be found again when they are switched on again;
`purge_steps` removes it. Nothing is remembered of them: it is asked what they
would have, and looked whether it is there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onestack.cloudapi.identity import remove_user, withdraw
from onestack.components.base import Component, Context, Part
from onestack.host import mounts
from onestack.host.change import Change
from onestack.host.files import remove_tree
from onestack.host.ledger import Entry, Ledger
from onestack.plan.mariadb import Server
from onestack.plan.step import Step


@dataclass(frozen=True)
class Left:
    """What a component that is switched off has left, as far as no other uses it."""

    component: Component
    directories: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    part: Part | None = None
    """Of the component: all that it has left is this part's, which removes it itself."""

    @property
    def name(self) -> str:
        return f"{self.component.name}:{self.part.name}" if self.part else self.component.name

    @property
    def title(self) -> str:
        return self.part.title if self.part else self.component.title or self.component.name


def left(ctx: Context) -> list[Left]:
    """All that have left something below the cloud's root."""
    ctx = replace(ctx, secrets=ctx.secrets.looking())
    used = _places(ctx, ctx.components)
    above = {parent for path in used for parent in path.parents}
    found = []
    for component in ctx.switched_off:
        own = {p for p in _places(ctx, (component,)) if p not in used | above and p.exists()}
        # a directory goes with all that is in it
        directories = sorted(p for p in own if p.is_dir() and not own & set(p.parents))
        files = sorted(p for p in own if not p.is_dir() and not own & set(p.parents))
        if directories or files:
            found.append(Left(component, tuple(directories), tuple(files)))
    found += [
        Left(component, part=part)
        for component in ctx.components
        for part in component.parts_off(ctx)
        if any(sign.exists() for sign in part.signs)
    ]
    return found


def _places(ctx: Context, components: Iterable[Component]) -> set[Path]:
    """Files and directories of ``components`` below the cloud's root."""
    found: set[Path] = set()
    for component in components:
        found.update(place.path for place in component.directories(ctx))
        # Some are made from files of a release that may not be there yet.
        with contextlib.suppress(OSError):
            found.update(file.path for file in component.files(ctx))
    return {path for path in found if ctx.cloud.root in path.parents}


def catalog_steps(ctx: Context, needs: tuple[str, ...]) -> Iterator[Step]:
    """No endpoint of what is switched off; ``needs`` are what identities need."""
    wanted = {e.type for c in ctx.components for i in c.identity(ctx) for e in i.endpoints}
    for component in ctx.switched_off:
        types = [e.type for i in component.identity(ctx) for e in i.endpoints]
        if gone := [kind for kind in types if kind not in wanted]:
            yield Step(
                f"catalog:{component.name}",
                f"{component.title or component.name} (switched off): catalog",
                functools.partial(withdraw, ctx, gone),
                needs,
            )


def purge_steps(ctx: Context, server: Server, needs: tuple[str, ...]) -> Iterator[Step]:
    """Nothing is left of what is switched off; ``needs`` are database and identity at work."""
    for component in ctx.switched_off:
        yield Step(
            f"purge:{component.name}",
            f"{component.title or component.name} (switched off): what it left",
            functools.partial(_purge, ctx, component, server),
            needs,
        )
    for component in ctx.components:
        for part in component.parts_off(ctx):
            own = f"purge:{component.name}:"
            yield Step(
                f"{own}{part.name}",
                f"{part.title} (switched off): what it left",
                part.purge,
                (*needs, *(f"{own}{other}" for other in part.after)),
            )


def _purge(ctx: Context, component: Component, server: Server) -> Iterator[Change]:
    yield from component.purge(ctx)
    yield from _databases(ctx, component, server)
    used = {i.user for c in ctx.components for i in c.identity(ctx)}
    for identity in component.identity(ctx):
        if identity.user not in used:
            yield from remove_user(ctx, identity.user)
    for what in left(ctx):
        if what.component is component:
            for path in (*what.directories, *what.files):
                yield Change(f"remove {path}", functools.partial(_remove, path))
            for folder in sorted({path.parent for path in what.files}, reverse=True):
                if folder.is_dir() and not any(folder.iterdir()):
                    yield Change(f"remove {folder}", folder.rmdir)
    yield from _system_users(ctx, component)


def _remove(path: Path) -> None:
    # A share or a disk keeps what is on it.
    mounts.unmount(path)
    remove_tree(path)


def _databases(ctx: Context, component: Component, server: Server) -> Iterator[Change]:
    used = [d for c in ctx.components for d in c.databases(ctx)]
    known = server.users()
    for database in component.databases(ctx):
        if database.name not in {d.name for d in used} and server.exists(database.name):
            yield Change(
                f"drop the database {database.name}",
                functools.partial(server.drop, database.name),
            )
        if database.user in known - {d.user for d in used}:
            known.discard(database.user)
            yield Change(
                f"drop the database's user {database.user}",
                functools.partial(server.drop_user, database.user),
            )


def _system_users(ctx: Context, component: Component) -> Iterator[Change]:
    """Only those named after the cloud: another's may be in use elsewhere."""
    ledger = Ledger.of(ctx.cloud)
    used = {user for c in ctx.components for user in c.users(ctx)}
    own = {u for u in component.users(ctx) if u.startswith(ctx.cloud.user(""))} - used
    for entry in ledger.entries():
        if entry.kind == "user" and entry.data["name"] in own:

            def remove(entry: Entry = entry) -> None:
                entry.undo()
                ledger.forget(entry.kind, **entry.data)

            yield Change(f"remove the system user {entry.data['name']}", remove)
