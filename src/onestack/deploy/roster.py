"""The roster: all processes of a cloud as the supervisor is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from onestack.cluster.placement import place
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.declarations import StoreMount
from onestack.model.errors import NotInstalled
from onestack.model.host import PASSAGE
from onestack.model.process import (
    SERVICES,
    AgentProbe,
    ApiProbe,
    ConnectProbe,
    HttpProbe,
    Probe,
    Process,
    Roster,
    ZygoteSpec,
)
from onestack.model.root_command import RootCommand


def roster_path(cloud: Cloud) -> Path:
    return cloud.etc / "roster.json"


def processes_of(ctx: Context) -> dict[str, tuple[Process, ...]]:
    """Component to its processes on the context's host, as the supervisor is told of them.

    Raises `ValueError` for a name twice, and for a need that nothing meets, and
    `onestack.model.errors.OnestackError` for a process that no host has a role for.
    """
    workers = workers_of(ctx)
    all_names = [spec.name for declared in ctx.model for spec in declared.processes]
    if twice := {name for name in all_names if all_names.count(name) > 1}:
        raise ValueError(f"two processes have the name {', '.join(sorted(twice))}")
    names, here = frozenset(all_names), frozenset(placed(ctx)[ctx.host.name])
    return {
        declared.name: tuple(
            replace(
                spec,
                # What another host has is not this one's supervisor's to wait for.
                needs=tuple(dict.fromkeys(_here(ctx, resolved(ctx, spec, names), here))),
                zygote=declared.name if spec.run and declared.zygote else spec.zygote,
                env={**workers, **spec.env} if spec.run and spec.sockets else spec.env,
                prepare=(*(attach_command(ctx, s) for s in seen(ctx, spec)), *spec.prepare),
                cleanup=(
                    *spec.cleanup,
                    *((*attach_command(ctx, s), "--detach") for s in owned(ctx, spec)),
                ),
                roles=(),
            )
            for spec in declared.processes
            if spec.name in here
        )
        for declared in ctx.model
    }


def _here(ctx: Context, needs: Iterator[str], here: frozenset[str]) -> Iterator[str]:
    """``needs`` as far as they are this host's; what others have is reached by its passage."""
    for name in needs:
        if name in here:
            yield name
        elif ctx.joined:
            yield from (way for way in ctx.capabilities[PASSAGE].processes if way in here)


def owned(ctx: Context, spec: Process) -> tuple[StoreMount, ...]:
    """The stores of ``spec``, which are detached after it."""
    stores = (store for declared in ctx.model for store in declared.stores)
    return tuple(store for store in stores if store.owner == spec.name)


def seen(ctx: Context, spec: Process) -> tuple[StoreMount, ...]:
    """The stores that must be mounted before ``spec`` starts, its own among them.

    A store is where its owner runs: on another host of the cloud there is nothing to mount.
    """
    provided = {o.name for o in ctx.capabilities.values() if spec.name in o.processes}
    wanted = tuple(
        store
        for declared in ctx.model
        for store in declared.stores
        if {spec.name, *provided} & {store.owner, *store.seen_by}
    )
    here = placed(ctx)[ctx.host.name] if wanted else ()
    return tuple(store for store in wanted if store.owner in here)


def attach_command(ctx: Context, store: StoreMount) -> tuple[str, ...]:
    """What mounts ``store`` in the mount namespace it is run in (as root); may be repeated."""
    return (
        "env",
        f"PYTHONPATH={ctx.release.program}",
        str(ctx.release.services.python),
        "-m",
        "onestack.storage.attach",
        store.store,
        str(ctx.cloud.root),
    )


def placed(ctx: Context) -> dict[str, tuple[str, ...]]:
    """Host's name to the names of the processes that it has."""
    wanted = {
        spec.name: spec.roles or declared.component.roles
        for declared in ctx.model
        for spec in declared.processes
    }
    return place(wanted, {host.name: host.roles for host in ctx.hosts})


def resolved(ctx: Context, spec: Process, names: frozenset[str]) -> Iterator[str]:
    """The needs of ``spec`` as names of processes, of which there are ``names`` in the cloud.

    A capability becomes the processes of whoever provides it.
    """
    for need in spec.needs:
        if need in names:
            yield need
        elif offer := ctx.capabilities.get(need):
            yield from (name for name in offer.processes if name in names)
        else:
            raise ValueError(f"{spec.name} needs {need!r}, which nothing provides")


def roster_of(ctx: Context, specs: Mapping[str, tuple[Process, ...]] | None = None) -> Roster:
    """``specs`` are those of `processes_of`."""
    specs = processes_of(ctx) if specs is None else specs
    privsep: dict[str, tuple[str, ...]] = {}
    root_commands: dict[str, tuple[RootCommand, ...]] = {}
    here = ctx.model.here
    for declared in here:
        for user, contexts in declared.privsep.items():
            privsep[user] = (*privsep.get(user, ()), *contexts)
        for user, commands in declared.root_commands.items():
            root_commands[user] = (*root_commands.get(user, ()), *commands)
    preload = dict.fromkeys(module for declared in here for module in declared.preload)
    return Roster(
        cloud=ctx.cloud.name,
        root=str(ctx.cloud.root),
        netns=ctx.cloud.netns,
        preload=tuple(preload),
        processes=tuple(spec for own in specs.values() for spec in own),
        privsep=privsep,
        root_commands=root_commands,
        zygotes=dict(zygotes_of(ctx, specs)),
        environments=environments_of(ctx, specs),
        identity={
            "auth_url": ctx.url("identity") if ctx.offers("identity") else "",
            "file": str(ctx.cloud.etc / "probe.json"),
            "host": ctx.host.name,
        },
    )


def zygotes_of(
    ctx: Context, specs: Mapping[str, tuple[Process, ...]]
) -> Iterator[tuple[str, ZygoteSpec]]:
    """Component to its zygote, in the environment of the processes that are forked from it.

    Raises `ValueError` where these are of several environments.
    """
    for declared in ctx.model.here:
        if not declared.zygote:
            continue
        forked = [spec for spec in specs[declared.name] if spec.zygote == declared.name]
        names = {spec.environment for spec in forked} or {SERVICES}
        if len(names) > 1:
            raise ValueError(
                f"the processes of {declared.name} are of several environments "
                f"({', '.join(sorted(names))}), its zygote can only be of one"
            )
        isolated = declared.component.zygote_isolated
        yield declared.name, ZygoteSpec(declared.zygote, names.pop(), isolated)


def environments_of(ctx: Context, specs: Mapping[str, tuple[Process, ...]]) -> dict[str, str]:
    """Python environments besides the services', for processes and jobs, to their interpreters.

    Raises `ValueError` for one that is used and not declared: it would not be installed.
    """
    names = {name for declared in ctx.model for name in declared.environments}
    used = {spec.name: spec.environment for own in specs.values() for spec in own}
    used |= {f"database {d.name}": d.environment for on in ctx.model for d in on.databases}
    for what, environment in used.items():
        if environment not in names | {SERVICES}:
            raise ValueError(f"{what} wants the environment {environment!r}, not declared by any")
    return {name: str(ctx.release.environment(name).python) for name in sorted(names)}


def workers_of(ctx: Context) -> dict[str, str]:
    """What tells an API how much it is to do at once; see `onestack.runtime.wsgi`."""
    count = ctx.answers.get("CONFIG_SERVICE_WORKERS")
    return {"ONESTACK_SERVICE_WORKERS": str(count)} if count else {}


def ports(ctx: Context) -> list[tuple[str, int, str]]:
    """Address, port and process of every TCP port that the cloud will listen on.

    From the sockets that the supervisor opens, the places that probes ask, what processes
    open besides, and the TLS fronts. Processes that cannot be told before something is
    installed are left out.
    """
    found: dict[tuple[str, int], str] = {}
    for declared in ctx.model:
        processes: tuple[Process, ...] = ()
        with contextlib.suppress(NotInstalled):
            processes = declared.processes
        for spec in processes:
            for target in (*spec.sockets.values(), *asked_by(spec.probe)):
                if place := tcp_of(target):
                    found.setdefault(place, spec.name)
        for opened in declared.opened:
            if opened.port.protocol == "tcp":
                found.setdefault((opened.address, opened.port.number), declared.name)
        for front in declared.frontends:
            found.setdefault(
                (front.address or ctx.public, front.port), f"the front of {front.name}"
            )
    return [(address, port, name) for (address, port), name in found.items()]


def asked_by(probe: Probe | None) -> tuple[str, ...]:
    """The place that it asks, if it asks one."""
    match probe:
        case (
            ConnectProbe(target=place)
            | HttpProbe(url=place)
            | ApiProbe(url=place)
            | AgentProbe(listing=place)
        ):
            return (place,)
    return ()


def tcp_of(target: str) -> tuple[str, int] | None:
    """``tcp:ADDRESS:PORT`` or an http URL -> address and port; others: ``None``."""
    if target.startswith("tcp:"):
        address, _, port = target.removeprefix("tcp:").rpartition(":")
    elif target.startswith(("http://", "https://")):
        place = target.partition("://")[2].partition("/")[0]
        address, _, port = place.rpartition(":")
    else:
        return None
    return (address.strip("[]"), int(port)) if address and port.isdigit() else None
