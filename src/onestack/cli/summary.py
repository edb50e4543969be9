"""What is said when a cloud is up: where it answers, with what credentials, and what took long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from onestack.components.clients import tools
from onestack.components.door.follower import conditions
from onestack.components.public import endpoints, pages
from onestack.model.context import Context

if TYPE_CHECKING:
    from onestack.deploy.switched_off import Left
    from onestack.engine.step import RunReport


def left(ctx: Context) -> list[Left]:
    from onestack.deploy import switched_off

    return switched_off.left(ctx)


def facts(ctx: Context, report: RunReport) -> dict[str, Any]:
    """The summary for scripts; seconds are seconds."""
    return {
        "cloud": ctx.cloud.name,
        "host": ctx.host.name,
        "root": str(ctx.cloud.root),
        "netns": ctx.cloud.netns,
        "seconds": round(report.seconds, 1),
        "changes": len(report.changes),
        "endpoints": endpoints(ctx),
        "pages": pages(ctx),
        "hosts": {m.name: at.word for m, at in conditions(ctx.cloud)} if ctx.members else {},
        "kept": [what.name for what in left(ctx)],
        "credentials": [
            str(ctx.cloud.etc / "admin-openrc"),
            str(ctx.cloud.etc / "clouds.yaml"),
        ],
        "slowest": [
            {"step": r.name, "title": r.title, "seconds": round(r.seconds, 1)}
            for r in report.slowest
        ],
    }


def lines(ctx: Context, report: RunReport) -> Iterator[str]:
    """The summary for people."""
    count = len(report.changes)
    done = f"{count} change{'s' if count != 1 else ''} in {report.seconds:.1f} s"
    cloud = ctx.cloud
    if ctx.joined:
        yield f"{ctx.host.name} is a host of the cloud {cloud.name!r} at {ctx.public}: {done}."
        return
    yield f"The cloud {cloud.name!r} is up: {done}."
    if not count:
        yield "Everything was as the answers want it."
    yield ""
    where = f" (inside the network namespace {cloud.netns})" if cloud.netns else ""
    yield f"Endpoints{where}:"
    urls = endpoints(ctx)
    width = max(map(len, urls), default=0)
    for kind, url in sorted(urls.items()):
        yield f"  {kind:<{width}}  {url}"
    yield ""
    for title, url in pages(ctx).items():
        yield f"{title + ':':<13} {url}   (as admin)"
    yield f"Credentials:  . {cloud.etc}/admin-openrc   (or {cloud.etc}/clouds.yaml)"
    first, *others = tools(ctx)
    yield f"Clients:      {cloud.bin}/{first}, and {', '.join(others)}"
    if ctx.members:
        for member, at in conditions(cloud):
            yield f"Host:         {member.name} {at.sentence}"
    if kept := ", ".join(what.title for what in left(ctx)):
        yield f"Kept:         what belongs to {kept} (switched off; onestack up --purge removes it)"
    if slowest := report.slowest:
        steps = ", ".join(f"{r.title} {r.seconds:.1f} s" for r in slowest)
        yield f"Slowest:      {steps}   (all: onestack blame{named(ctx)})"


def named(ctx: Context) -> str:
    """The option that names this cloud, when it needs one."""
    from onestack.model.cloud import DEFAULT_NAME

    return "" if ctx.cloud.name == DEFAULT_NAME else f" --name {ctx.cloud.name}"
