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
from dataclasses import dataclass
from pathlib import Path

from onestack.cloudapi.identity import remove_user, withdraw
from onestack.database.server import Server
from onestack.engine.step import Step
from onestack.host import mounts
from onestack.host.files import remove_tree
from onestack.host.ledger import Entry, Ledger
from onestack.model.change import Change
from onestack.model.component import Component, PartOff
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.errors import NotInstalled


@dataclass(frozen=True)
class Left:
    """What a component that is switched off has left, as far as no other uses it."""

    component: Component
    directories: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    part: PartOff | None = None
    """Of the component: all that it has left is this part's, which removes it itself."""

    @property
    def name(self) -> str:
        return f"{self.component.name}:{self.part.name}" if self.part else self.component.name

    @property
    def title(self) -> str:
        return self.part.title if self.part else self.component.title or self.component.name


def left(ctx: Context) -> list[Left]:
    """All that have left something below the cloud's root."""
    ctx = ctx.looking()
    used = _places(ctx, ctx.model)
    above = {parent for path in used for parent in path.parents}
    found = []
    for declared in ctx.model.off:
        component = declared.component
        own = {p for p in _places(ctx, (declared,)) if p not in used | above and p.exists()}
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


def _places(ctx: Context, those: Iterable[Declared]) -> set[Path]:
    """Files and directories of ``those`` below the cloud's root."""
    found: set[Path] = set()
    for declared in those:
        found.update(place.path for place in declared.directories)
        # Some are made from files of a release that may not be there yet.
        with contextlib.suppress(OSError, NotInstalled):
            found.update(file.path for file in declared.files)
    return {path for path in found if ctx.cloud.root in path.parents}


def catalog_steps(ctx: Context, needs: tuple[str, ...]) -> Iterator[Step]:
    """No endpoint of what is switched off; ``needs`` are what identities need."""
    wanted = {e.type for declared in ctx.model for i in declared.identity for e in i.endpoints}
    for declared in ctx.model.off:
        types = [e.type for i in declared.identity for e in i.endpoints]
        if gone := [kind for kind in types if kind not in wanted]:
            yield Step(
                f"catalog:{declared.name}",
                f"{declared.title} (switched off): catalog",
                functools.partial(withdraw, ctx, gone),
                needs,
            )


def purge_steps(ctx: Context, server: Server, needs: tuple[str, ...]) -> Iterator[Step]:
    """Nothing is left of what is switched off; ``needs`` are database and identity at work."""
    for declared in ctx.model.off:
        yield Step(
            f"purge:{declared.name}",
            f"{declared.title} (switched off): what it left",
            functools.partial(_purge, ctx, declared, server),
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


def _purge(ctx: Context, declared: Declared, server: Server) -> Iterator[Change]:
    yield from declared.component.purge(ctx)
    yield from _databases(ctx, declared, server)
    used = {identity.user for on in ctx.model for identity in on.identity}
    for identity in declared.identity:
        if identity.user not in used:
            yield from remove_user(ctx, identity.user)
    for what in left(ctx):
        if what.component is declared.component:
            for path in (*what.directories, *what.files):
                yield Change(f"remove {path}", functools.partial(_remove, path))
            for folder in sorted({path.parent for path in what.files}, reverse=True):
                if folder.is_dir() and not any(folder.iterdir()):
                    yield Change(f"remove {folder}", folder.rmdir)
    yield from _system_users(ctx, declared)


def _remove(path: Path) -> None:
    # A share or a disk keeps what is on it.
    mounts.unmount(path)
    remove_tree(path)


def _databases(ctx: Context, declared: Declared, server: Server) -> Iterator[Change]:
    used = [database for on in ctx.model for database in on.databases]
    known = server.users()
    for database in declared.databases:
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


def _system_users(ctx: Context, declared: Declared) -> Iterator[Change]:
    """Only those named after the cloud: another's may be in use elsewhere."""
    ledger = Ledger.of(ctx.cloud)
    used = {user for on in ctx.model for user in on.users}
    own = {user for user in declared.users if user.startswith(ctx.cloud.user(""))} - used
    for entry in ledger.entries():
        if entry.kind == "user" and entry.data["name"] in own:

            def remove(entry: Entry = entry) -> None:
                entry.undo()
                ledger.forget(entry.kind, **entry.data)

            yield Change(f"remove the system user {entry.data['name']}", remove)
