"""The roster: all processes of a cloud as the supervisor is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from onestack.cloud import Cloud
from onestack.components.base import Context
from onestack.supervise.spec import Process, Roster


def roster_path(cloud: Cloud) -> Path:
    return cloud.etc / "roster.json"


def roster_of(ctx: Context, specs: Mapping[str, Iterable[Process]]) -> Roster:
    """``specs`` maps components to their processes. Raises `ValueError` for a name twice."""
    families = {c.name: tuple(c.family(ctx)) for c in ctx.components}
    workers = workers_of(ctx)
    processes = [
        replace(
            spec,
            family=component.name if spec.run and families[component.name] else spec.family,
            env={**workers, **spec.env} if spec.run and spec.sockets else spec.env,
        )
        for component in ctx.components
        for spec in specs[component.name]
    ]
    names = [p.name for p in processes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two processes have the name {', '.join(sorted(twice))}")
    privsep: dict[str, tuple[str, ...]] = {}
    for component in ctx.components:
        for user, contexts in component.privsep(ctx).items():
            privsep[user] = (*privsep.get(user, ()), *contexts)
    preload = dict.fromkeys(module for c in ctx.components for module in c.preload(ctx))
    return Roster(
        cloud=ctx.cloud.name,
        root=str(ctx.cloud.root),
        netns=ctx.cloud.netns,
        preload=tuple(preload),
        processes=tuple(processes),
        privsep=privsep,
        families={name: modules for name, modules in families.items() if modules},
        apart=tuple(c.name for c in ctx.components if c.family_apart and families[c.name]),
        identity={
            "auth_url": f"http://{ctx.internal}:5000/v3",
            "file": str(ctx.cloud.etc / "probe.json"),
        },
    )


def workers_of(ctx: Context) -> dict[str, str]:
    """What tells an API how much it is to do at once; see `onestack.supervise.wsgi`."""
    count = ctx.answers.get("CONFIG_SERVICE_WORKERS")
    return {"ONESTACK_SERVICE_WORKERS": str(count)} if count else {}


def ports(ctx: Context) -> list[tuple[str, int, str]]:
    """Address, port and process of every TCP port that the cloud will listen on.

    From the sockets that the supervisor opens, the places that probes ask,
    and the TLS fronts.
    """
    found: dict[tuple[str, int], str] = {}
    for component in ctx.components:
        for spec in component.processes(ctx):
            asked = [spec.probe.target] if spec.probe else []
            for target in [*spec.sockets.values(), *asked]:
                if place := tcp_of(target):
                    found.setdefault(place, spec.name)
        for front in component.fronts(ctx):
            found.setdefault((ctx.public, front.port), f"the front of {front.name}")
    return [(address, port, name) for (address, port), name in found.items()]


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
