"""Compute services of hosts that are none any more, with what placement has of them.

A host that joins under a name that nova knows is refused by its own compute service: what that one
had written down about itself went with the host. Nova keeps a service that has servers; they are
for the operator to move or to delete.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.placement import placement_of
from onestack.components.hosts import staying
from onestack.components.nova.cells import CELL1
from onestack.database.server import server_of
from onestack.database.upstream_tables import nova as tables
from onestack.host.telling import tell
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, warn


def ensure_departed(ctx: Context) -> Iterator[Change]:
    """Raises `OnestackError` where a host has joined whose name still has servers."""
    server = server_of(ctx)
    stay, come = staying(ctx), {one.name for one in ctx.members if not one.admitted}
    computes = tables.computes(server)
    for name, servers in computes.items():
        if name in stay:
            continue
        if servers == 0:
            yield Change(
                f"remove the compute service of {name}, which is no host any more",
                functools.partial(_remove, ctx, name, name in come),
            )
        elif name not in come:
            tell(str(_with_servers(name, servers)))
    for name in sorted(come - computes.keys()):
        # Nova takes it along, and says nothing where it could not.
        if left := placement_of(ctx).provider(name):
            yield Change(
                f"remove what placement has of a host that was called {name}",
                functools.partial(placement_of(ctx).remove, left),
            )
    for name in sorted(come & {name for name, servers in computes.items() if servers}):
        raise _error(_with_servers(name, computes[name]))


def findings(ctx: Context) -> Iterator[Finding]:
    stay = staying(ctx)
    for name, servers in tables.computes(server_of(ctx)).items():
        if servers and name not in stay:
            yield _with_servers(name, servers)


def _with_servers(name: str, servers: int) -> Finding:
    return warn(
        f"{name} is no host any more, and nova has {servers} server{'s' * (servers != 1)} there",
        "nova keeps the compute service of a host that has servers, and so another host of that "
        "name cannot come in",
        f"make them anew on other hosts (onestack host evacuate {name}), or delete them "
        f"(openstack server list --host {name} --all-projects); then: onestack up",
    )


def _remove(ctx: Context, name: str, comes: bool) -> None:
    compute, placement = compute_of(ctx), placement_of(ctx)
    service = compute.service(name)
    if service and (refusal := compute.delete_service(service["id"])):
        found = warn(
            f"nova keeps the compute service of {name}, which is no host any more",
            refusal,
            f"openstack server migration list --host {name}; then: onestack up",
        )
        if comes:
            raise _error(found)
        tell(str(found))
        return
    if left := placement.provider(name):
        placement.remove(left)
    if comes:
        # It was mapped by that name already, and has lost its mapping with the other one.
        tables.map_host(server_of(ctx), name, CELL1)


def _error(finding: Finding) -> OnestackError:
    return OnestackError(finding.what, finding.why, finding.cure)
