"""Whether a host that has joined gets to the volumes that the controller serves."""

from __future__ import annotations

import json
from collections.abc import Iterator

from onestack.components import hosts
from onestack.model.context import Context
from onestack.model.findings import Finding, warn
from onestack.storage.nbd import greeted

SECONDS = 5.0


def findings(ctx: Context) -> Iterator[Finding]:
    # The controller's word, and no answer: what that says is not always what it has.
    if not (ctx.joined and hosts.served(ctx)):
        return
    address, port = ctx.joined.controller, hosts.volumes_port(ctx.joined.number)
    try:
        greeted(address, port, SECONDS)
    except OSError as problem:
        yield warn(
            f"volumes are not reached at {address}, TCP port {port}",
            f"{problem.strerror or problem}: a packet filter is in between, or the controller does "
            "not serve this host; servers here get no volume, and those that have some wait",
            f"let TCP port {port} through to the controller, and there see onestack status "
            f"(cinder-nbd-{ctx.host.name}), and onestack up",
        )
    yield from _lacking(ctx)


def _lacking(ctx: Context) -> Iterator[Finding]:
    """Servers that stop again and again, as the compute service has it."""
    try:
        found = json.loads(hosts.lacking(ctx).read_text())
    except (OSError, ValueError):
        return
    for server, volumes in found.items():
        yield warn(
            f"the server {server} stands still: it does not get its volumes {', '.join(volumes)}",
            "the controller is reached, and does not have them for this host any more, or cannot "
            "read them; the server is tried again every few minutes",
            f"openstack server stop {server}, and start; on the controller onestack logs "
            f"cinder-nbd-{ctx.host.name} says more",
        )
