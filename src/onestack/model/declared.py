"""What the components want in one context, each asked once: the model that all others read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onestack.model.change import Change
from onestack.model.component import Component, Feature, Part
from onestack.model.declarations import (
    BusAccount,
    Capability,
    ConfigFile,
    Database,
    Directory,
    Frontend,
    Identity,
    KnownError,
    Opened,
    Panel,
    StoreMount,
    Task,
    TempestResources,
)
from onestack.model.ini import Ini
from onestack.model.process import Process
from onestack.model.root_command import RootCommand

if TYPE_CHECKING:
    from onestack.model.context import Context

T = TypeVar("T")

ASPECTS = (
    *("packages", "started", "environments", "disk", "users", "directories", "files", "databases"),
    *("identity", "frontends", "opened", "bus", "processes", "privsep", "root_commands"),
    *("preload", "zygote", "stores", "downloads", "tasks", "dashboard"),
)
"""What `Declared.evaluate` asks for."""


class Declared:
    """What one component wants, with those of its features that are on.

    Each attribute is asked of the component when it is first read, and never again.
    Raises `onestack.model.errors.NotInstalled` where that cannot be said yet.
    With ``feature`` it is what that one would want, alone.
    """

    def __init__(self, component: Component, ctx: Context, feature: Feature | None = None) -> None:
        self.component = component
        self.ctx = ctx
        self.feature = feature

    @property
    def name(self) -> str:
        own = self.component.name
        return f"{own}:{self.feature.name}" if self.feature else own

    @property
    def title(self) -> str:
        one = self.feature or self.component
        return one.title or one.name

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Those that are on."""
        return tuple(f for f in self.component.features if f.on(self.ctx))

    @cached_property
    def features_off(self) -> tuple[Declared, ...]:
        """What each of the others would want. No new secret is kept for them."""
        ctx, off = self.ctx.looking(), set(self.component.features).difference(self.features)
        return tuple(Declared(self.component, ctx, f) for f in self.component.features if f in off)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return (self.feature,) if self.feature else (self.component, *self.features)

    def _all(self, ask: Callable[[Part], Iterable[T]]) -> tuple[T, ...]:
        return tuple(chain.from_iterable(ask(part) for part in self.parts))

    @property
    def provides(self) -> tuple[Capability, ...]:
        return tuple(offer for part in self.parts for offer in part.provides)

    @cached_property
    def packages(self) -> tuple[str, ...]:
        return self._all(lambda part: part.packages(self.ctx))

    @cached_property
    def started(self) -> tuple[str, ...]:
        return self._all(lambda part: part.started(self.ctx))

    @cached_property
    def environments(self) -> tuple[str, ...]:
        return self._all(lambda part: part.environments(self.ctx))

    @cached_property
    def disk(self) -> int:
        return sum(part.disk(self.ctx) for part in self.parts)

    @cached_property
    def users(self) -> tuple[str, ...]:
        return self._all(lambda part: part.users(self.ctx))

    @cached_property
    def directories(self) -> tuple[Directory, ...]:
        return self._all(lambda part: part.directories(self.ctx))

    @cached_property
    def files(self) -> tuple[ConfigFile, ...]:
        files = self._all(lambda part: part.files(self.ctx))
        shares = [] if self.feature else [part.options(self.ctx) for part in self.parts]
        known = {file.path for file in files if file.ini is not None}
        if strange := {path for share in shares for path in share} - known:
            raise ValueError(f"{self.name} has options for {strange}, which none of its parts has")
        return tuple(
            file.with_options([share[file.path] for share in shares if file.path in share])
            for file in files
        )

    @cached_property
    def databases(self) -> tuple[Database, ...]:
        return self._all(lambda part: part.databases(self.ctx))

    @cached_property
    def identity(self) -> tuple[Identity, ...]:
        return self._all(lambda part: part.identity(self.ctx))

    @cached_property
    def frontends(self) -> tuple[Frontend, ...]:
        return self._all(lambda part: part.frontends(self.ctx))

    @cached_property
    def opened(self) -> tuple[Opened, ...]:
        return self._all(lambda part: part.opened(self.ctx))

    @cached_property
    def bus(self) -> tuple[BusAccount, ...]:
        return self._all(lambda part: part.bus(self.ctx))

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        return self._all(lambda part: part.processes(self.ctx))

    @cached_property
    def stores(self) -> tuple[StoreMount, ...]:
        return self._all(lambda part: part.stores(self.ctx))

    @cached_property
    def privsep(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            for user, contexts in part.privsep(self.ctx).items():
                found[user] = (*found.get(user, ()), *contexts)
        return found

    @cached_property
    def root_commands(self) -> dict[str, tuple[RootCommand, ...]]:
        found: dict[str, tuple[RootCommand, ...]] = {}
        for part in self.parts:
            for user, commands in part.root_commands(self.ctx).items():
                found[user] = (*found.get(user, ()), *commands)
        return found

    @cached_property
    def preload(self) -> tuple[str, ...]:
        return self._all(lambda part: part.preload(self.ctx))

    @cached_property
    def zygote(self) -> tuple[str, ...]:
        return self._all(lambda part: part.zygote(self.ctx))

    @cached_property
    def downloads(self) -> tuple[Task, ...]:
        return self._all(lambda part: part.downloads(self.ctx))

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        return self._all(lambda part: part.tasks(self.ctx))

    @cached_property
    def dashboard(self) -> tuple[Panel, ...]:
        return self._all(lambda part: part.dashboard(self.ctx))

    def tempest(self, found: TempestResources) -> Ini:
        """Its share of tempest.conf."""
        made: Ini = {}
        for part in self.parts:
            for section, options in part.tempest(self.ctx, found).items():
                made.setdefault(section, {}).update(options)
        return made

    @cached_property
    def known_errors(self) -> tuple[KnownError, ...]:
        return tuple(chain.from_iterable(part.known_errors for part in self.parts))

    def purge(self) -> Iterator[Change]:
        """What `Part.purge` undoes. Asked when that is due: it looks at the cloud."""
        # Features stand on their component.
        for part in reversed(self.parts):
            yield from part.purge(self.ctx)

    @cached_property
    def markers(self) -> tuple[Path, ...]:
        """Of the one feature."""
        return tuple(self.feature.markers(self.ctx)) if self.feature else ()

    def evaluate(self) -> None:
        """Ask for all of it now."""
        for aspect in ASPECTS:
            getattr(self, aspect)


class Model:
    """All components of one context: ``Model`` is iterated over those that are on, in order."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.on = tuple(Declared(component, ctx) for component in ctx.components)
        self._by_name = {declared.name: declared for declared in self.on}

    def __iter__(self) -> Iterator[Declared]:
        return iter(self.on)

    def __getitem__(self, name: str) -> Declared:
        return self._by_name[name]

    @cached_property
    def here(self) -> tuple[Declared, ...]:
        """Those of which the context's host has something."""
        return tuple(d for d in self.on if self._ctx.here(d.component.roles))

    @cached_property
    def off(self) -> tuple[Declared, ...]:
        """What those that are switched off would want. No new secret is kept for them."""
        ctx = self._ctx.looking()
        return tuple(Declared(component, ctx) for component in ctx.switched_off)

    def evaluate(self) -> None:
        """Ask all that are on for everything. Raises `onestack.model.errors.NotInstalled`."""
        for declared in self.on:
            declared.evaluate()

    def likely(self, component: str, text: str) -> str | None:
        """What is known about a log's ``text``: by its component, else by what others stand on."""
        own = [d for d in self.on if d.name == component]
        others = [d for d in self.on if d not in own]
        for declared in (*own, *others):
            for known in declared.known_errors:
                if (declared in own or known.everywhere) and re.search(known.pattern, text):
                    return self._ctx.filled(known.sentence)
        return None
