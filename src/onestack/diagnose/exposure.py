"""What of a cloud can be reached from outside the machine, and should not be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.host import netns
from onestack.kernel import proc, sockets
from onestack.kernel.sockets import Listener
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse


def exposed(ctx: Context) -> list[Finding]:
    """Processes of the cloud that listen where only the frontends may."""
    place = ctx.cloud.netns
    if place is None:
        return list(judged(ctx, _open()))
    if not netns.exists(place):
        return []
    with netns.inside(place):
        return list(judged(ctx, _open()))


def _open() -> list[Listener]:
    return sockets.owners([*sockets.listeners(), *sockets.receivers()])


def judged(ctx: Context, listeners: Iterable[Listener]) -> Iterator[Finding]:
    """A finding for each of ``listeners`` that is the cloud's, not loopback's and not declared.

    Frontends speak TCP, and of UDP from outside a cloud takes only what a component has
    `opened`: a tunnel's port is the kernel's, which is no process, or within the switch, which
    has no socket for it; chrony asks others and is asked by nobody.
    """
    public = {
        ("tcp", front.address or ctx.public, front.port)
        for declared in ctx.model
        for front in declared.frontends
    }
    public |= {
        (opened.port.protocol, opened.address, opened.port.number)
        for declared in ctx.model
        for opened in declared.opened
    }
    own = proc.belonging(ctx.cloud.root)
    for listener in listeners:
        place = (listener.protocol, listener.address, listener.port)
        if listener.pid in own and not listener.is_loopback and place not in public:
            yield refuse(
                f"{listener.command or listener.pid} listens on "
                f"{listener.address}:{listener.port} ({listener.protocol.upper()})",
                "it can be reached from outside, and only the TLS frontends are meant to be",
                f"find out who started it (ps -o ppid,cmd -p {listener.pid}) and report it; "
                "onestack restart brings a service back as it was declared",
            )
