"""The first half of a run: what the machine must have before a component can be asked in earnest.

Packages, users, directories, the namespace, the release. It runs in the
host's own network namespace, where mirrors and indexes are reached.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator
from pathlib import Path

from onestack.engine.progress import tell
from onestack.engine.step import Step
from onestack.host.clouds import ensure_registered
from onestack.host.files import ensure_directory, ensure_file
from onestack.host.ledger import Ledger
from onestack.host.netns import ensure_netns
from onestack.host.packages import ensure_packages
from onestack.host.roots import PLACES, foreign
from onestack.host.users import ensure_users
from onestack.model.change import Change
from onestack.model.cloud import CACHE, FORMAT, CloudRecord, HostRecord, record_path
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.process import SERVICES
from onestack.release.release import CLIENTS

PACKAGES = ("iproute2", "mariadb-client", "mount", "passwd")
"""What our own host operations and schema dumps call."""


def prepare_steps(ctx: Context, cache: Path = CACHE) -> list[Step]:
    """Steps ``cloud``, ``packages``, ``netns``, ``users``, ``program``, ``environment:NAME``,
    ``release`` (services, program and what they borrow from packages), and the
    components' downloads: all that needs the network is in this half."""
    ledger = Ledger.of(ctx.cloud)
    release = ctx.release

    def users() -> Iterator[Change]:
        yield from ensure_users(wanted_users(ctx), ledger)
        for declared in ctx.model.here:
            for place in declared.directories:
                yield from ensure_directory(
                    place.path,
                    mode=place.mode,
                    owner=place.user,
                    group=place.group,
                    ledger=None if place.path.is_relative_to(ctx.cloud.root) else ledger,
                )

    def packages() -> Iterator[Change]:
        yield from ensure_packages(
            wanted_packages(ctx), ledger, systemd=ctx.facts.systemd, tell=tell
        )

    steps = [
        Step("cloud", "The cloud's own place", lambda: ensure_cloud(ctx, cache)),
        Step("packages", "Debian packages", packages, ("cloud",)),
        Step("users", "Users and directories", users, ("cloud", "packages")),
        Step("program", "Onestack's own code", lambda: release.ensure_program(tell), ("cloud",)),
        Step(
            "release",
            "Modules borrowed from packages",
            release.ensure_borrowed,
            (f"environment:{SERVICES}", "program", "packages"),
        ),
    ]
    # One after the other: all at once would only share the same link and disk.
    last = "cloud"
    for environment in map(release.environment, wanted_environments(ctx)):
        title = f"{environment.title[0].upper()}{environment.title[1:]}"
        ensure = functools.partial(environment.ensure, tell)
        steps.append(Step(f"environment:{environment.name}", title, ensure, (last,)))
        last = f"environment:{environment.name}"
    name = ctx.cloud.netns
    if name is not None:
        steps.append(
            Step(
                "netns",
                "Network namespace",
                lambda: ensure_netns(name, ledger, ctx.public),
                ("packages",),
            )
        )
    return [*steps, *download_steps(ctx)]


def download_steps(ctx: Context) -> Iterator[Step]:
    for declared in ctx.model.here:
        for task in declared.downloads:
            yield Step(
                f"{declared.name}:{task.name}",
                f"{declared.title}: {task.name}",
                task.ensure,
                ("cloud", *task.needs),
            )


def another_time(steps: list[Step], done: Collection[str]) -> list[Step]:
    """``steps`` to be run after those of the names ``done``, with other names than they have."""

    def renamed(name: str) -> str:
        return f"{name}, again" if name in done else name

    return [
        dataclasses.replace(step, name=renamed(step.name), needs=tuple(map(renamed, step.needs)))
        for step in steps
    ]


def wanted_of(ctx: Context) -> frozenset[str]:
    """All that depends on the components in `prepare_steps`, each as a few words."""
    environments = (f"the environment {name}" for name in wanted_environments(ctx))
    here = ctx.model.here
    places = (str(place.path) for declared in here for place in declared.directories)
    downloads = (f"{declared.name}:{task.name}" for declared in here for task in declared.downloads)
    users = (f"the user {name}" for name in wanted_users(ctx))
    return frozenset((*wanted_packages(ctx), *users, *environments, *places, *downloads))


def wanted_packages(ctx: Context) -> list[str]:
    """The union of what all components need."""
    return sorted({*PACKAGES, *(p for declared in ctx.model.here for p in declared.packages)})


def wanted_environments(ctx: Context) -> list[str]:
    """Names of the Python environments, each once: the services' is on every host."""
    further = (e for declared in ctx.model.here for e in declared.environments)
    # People use the cloud where it answers.
    clients = () if ctx.joined else (CLIENTS,)
    return list(dict.fromkeys((SERVICES, *clients, *further)))


def wanted_users(ctx: Context) -> list[str]:
    return list(dict.fromkeys(u for declared in ctx.model.here for u in declared.users))


def ensure_cloud(ctx: Context, cache: Path = CACHE) -> Iterator[Change]:
    """The root and its first directories, what the cloud is, and its entry in the cache."""
    cloud = ctx.cloud
    if strangers := foreign(cloud.root):
        raise OnestackError(
            f"{cloud.root} is not used: a cloud wants a directory of its own",
            f"it holds {', '.join(strangers)}",
            "give another one with --root, or move that away",
        )
    yield from ensure_directory(cache)
    yield from ensure_registered(cloud, cache)
    # Services of many users go through these; what is secret below has its own mode.
    for place in (cloud.root, *(cloud.root / name for name in PLACES)):
        yield from ensure_directory(place)
    record = cloud.record
    # A dry run, which has applied no patch, may see an older one; the patch brings it to this.
    if record is None or record.format == FORMAT:
        yield from ensure_file(record_path(cloud.root), record_of(ctx).text)


def record_of(ctx: Context) -> CloudRecord:
    """What is written down of the cloud when it is made, and stays so."""
    hosts = (HostRecord(host.name, tuple(sorted(host.roles))) for host in ctx.hosts)
    return CloudRecord(ctx.cloud.name, ctx.cloud.netns, FORMAT, ctx.release.name, tuple(hosts))
