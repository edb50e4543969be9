"""Components that the answers switch off, and features of those that are on.

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

from onestack.cloudapi.identity import withdraw
from onestack.cloudapi.keystone import remove_user
from onestack.database.server import Server
from onestack.engine.step import Step
from onestack.host.files import remove_tree
from onestack.host.ledger import Ledger, LedgerEntry
from onestack.host.mounts import unmount
from onestack.host.users import undo_user
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.errors import NotInstalled


@dataclass(frozen=True)
class Left:
    """What is left of a component, or of a feature, that is switched off; no other uses it."""

    of: Declared
    directories: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def title(self) -> str:
        return self.of.title


def left(ctx: Context) -> list[Left]:
    """All that have left something below the cloud's root."""
    ctx = ctx.looking()
    used = _places(ctx, ctx.model)
    found = []
    for declared in ctx.model.off:
        what = _left(declared, _places(ctx, (declared, *declared.features_off)), used)
        if what.directories or what.files:
            found.append(what)
    for feature in features_off(ctx):
        # Its files tell nothing: they go at `up`.
        what = _left(feature, _places(ctx, (feature,)).difference(feature.markers), used)
        if what.directories or any(marker.exists() for marker in feature.markers):
            found.append(what)
    return found


def _left(declared: Declared, places: set[Path], used: set[Path]) -> Left:
    above = {parent for path in used for parent in path.parents}
    own = {path for path in places if path not in used | above and path.exists()}
    # a directory goes with all that is in it
    own = {path for path in own if not own & set(path.parents)}
    directories = {path for path in own if path.is_dir()}
    return Left(declared, tuple(sorted(directories)), tuple(sorted(own - directories)))


def features_off(ctx: Context) -> list[Declared]:
    """Those that the answers switch off, of components that are on."""
    return [feature for declared in ctx.model for feature in declared.features_off]


def former_files(declared: Declared) -> list[Path]:
    """Below the root: the files that a component has with features that are off."""
    ctx, off = declared.ctx, declared.features_off
    kept = {file.path for file in declared.files}.union(*(feature.markers for feature in off))
    return sorted(_files(ctx, off) - kept)


def _places(ctx: Context, those: Iterable[Declared]) -> set[Path]:
    """Files and directories of ``those`` below the cloud's root."""
    found = _files(ctx, those)
    found.update(place.path for declared in those for place in declared.directories)
    return {path for path in found if ctx.cloud.root in path.parents}


def _files(ctx: Context, those: Iterable[Declared]) -> set[Path]:
    found: set[Path] = set()
    for declared in those:
        # Some are made from files of a release that may not be there yet.
        with contextlib.suppress(NotInstalled):
            found.update(file.path for file in declared.files)
    return {path for path in found if ctx.cloud.root in path.parents}


def catalog_steps(ctx: Context, needs: tuple[str, ...]) -> Iterator[Step]:
    """No endpoint of what is switched off; ``needs`` are what identities need."""
    wanted = {e.type for declared in ctx.model for i in declared.identity for e in i.endpoints}
    for declared in (*ctx.model.off, *features_off(ctx)):
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
    those = (*ctx.model.off, *features_off(ctx))
    names = {declared.name for declared in those}
    for declared in those:
        after = declared.feature.after if declared.feature else ()
        before = [f"{declared.component.name}:{name}" for name in after]
        offered = {offer.name for offer in declared.provides}
        before += [
            other.name
            for other in those
            if not other.feature and offered.intersection(other.component.purged_before)
        ]
        yield Step(
            f"purge:{declared.name}",
            f"{declared.title} (switched off): what it left",
            functools.partial(_purge, ctx, declared, server),
            (*needs, *(f"purge:{name}" for name in before if name in names)),
        )


def _purge(ctx: Context, declared: Declared, server: Server) -> Iterator[Change]:
    yield from declared.purge()
    yield from _databases(ctx, declared, server)
    used = {identity.user for on in ctx.model for identity in on.identity}
    for identity in declared.identity:
        if identity.user not in used:
            yield from remove_user(ctx, identity.user)
    for what in left(ctx):
        if what.name == declared.name:
            for path in (*what.directories, *what.files):
                yield Change(f"remove {path}", functools.partial(_remove, path))
            for folder in sorted({path.parent for path in what.files}, reverse=True):
                if folder.is_dir() and not any(folder.iterdir()):
                    yield Change(f"remove {folder}", folder.rmdir)
    yield from _system_users(ctx, declared)


def _remove(path: Path) -> None:
    # A share or a disk keeps what is on it.
    unmount(path)
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

            def remove(entry: LedgerEntry = entry) -> None:
                undo_user(entry.data)
                ledger.forget(entry.kind, **entry.data)

            yield Change(f"remove the system user {entry.data['name']}", remove)
