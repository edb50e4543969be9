"""Whether a host that has joined gets to the volumes that the controller serves."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from onestack.components import hosts
from onestack.model.context import Context
from onestack.model.findings import Finding, warn

FILES = "filepool"
"""The back-end (CONFIG_CINDER_BACKEND) whose volumes are served."""
SECONDS = 5.0


def findings(ctx: Context) -> Iterator[Finding]:
    if not (ctx.joined and ctx.offers("block-storage")):
        return
    if FILES not in ctx.answers["CONFIG_CINDER_BACKEND"]:
        return
    address, port = ctx.joined.controller, hosts.volumes_port(ctx.joined.number)
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError as problem:
        yield warn(
            f"volumes are not reached at {address}, TCP port {port}",
            f"{problem.strerror or problem}: a packet filter is in between, or the controller does "
            "not serve this host; servers here get no volume, and those that have some wait",
            f"let TCP port {port} through to the controller, and there see onestack status "
            f"(cinder-nbd-{ctx.host.name}), and onestack up",
        )
