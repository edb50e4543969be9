"""What databases leave in other services when trove is gone for good.

Trove does not run by then, and with its tables nobody would know of them. All of it is in the
project ``service`` and has names of trove's. Backups are their owners', in their accounts.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from keystoneauth1.exceptions import NotFound

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.neutron import neutron_of
from onestack.cloudapi.service_images import remove_all
from onestack.cloudapi.session import admin_session
from onestack.components.trove import config
from onestack.components.trove.datastores import FLAVORS
from onestack.components.trove.guest import RECIPE
from onestack.model.change import Change
from onestack.model.context import Context

NAME = "trove-"
"""How the names of ports and volumes begin."""
GROUP = "trove_sg-"
LOCALITY = "locality_"
"""Of groups of servers that are kept together, or apart: a database and its replicas."""
FORCED = {"OpenStack-API-Version": "volume 3.23"}
"""Since this version cinder heeds `force`; a request that names none is of the first."""


def remove(ctx: Context) -> Iterator[Change]:
    """Servers go with the guests' network, which is the first of it."""
    yield from config.management(ctx).purge()
    if ctx.offers("network"):
        yield from _network(ctx)
    if ctx.offers("block-storage"):
        yield from _volumes(ctx)
    if ctx.offers("image"):
        yield from remove_all(ctx, RECIPE)
    if ctx.offers("compute"):
        yield from _groups_of_servers(ctx)
        yield from _flavors(ctx)


def _network(ctx: Context) -> Iterator[Change]:
    """Ports in people's networks, with the floating IPs that were made for them, and groups."""
    api, own = neutron_of(ctx), service_project(ctx)
    ports = [p for p in api.all("port", project_id=own) if p["name"].startswith(NAME)]
    for port in ports:
        for address in api.all("floatingip", port_id=port["id"]):
            yield Change(
                f"remove the floating IP {address['floating_ip_address']} of a database",
                functools.partial(api.delete, "floatingip", address["id"]),
            )
        yield Change(
            f"remove the port {port['name']}", functools.partial(api.delete, "port", port["id"])
        )
    for group in api.all("security-group", project_id=own):
        if group["name"].startswith(GROUP):
            yield Change(
                f"remove the security group {group['name']}",
                functools.partial(api.delete, "security-group", group["id"]),
            )


def _volumes(ctx: Context) -> Iterator[Change]:
    """In whatever state they are, with their snapshots."""
    session, url = admin_session(ctx), f"{ctx.url('block-storage')}/volumes"
    query = {"all_tenants": "1", "project_id": service_project(ctx)}
    for volume in session.get(url, params=query).json()["volumes"]:
        if str(volume["name"]).startswith(NAME):

            def delete(volume: str = volume["id"]) -> None:
                with contextlib.suppress(NotFound):
                    session.delete(
                        f"{url}/{volume}",
                        params={"cascade": "true", "force": "true"},
                        headers=FORCED,
                    )

            yield Change(f"remove the volume {volume['name']}", delete)


def _groups_of_servers(ctx: Context) -> Iterator[Change]:
    compute = compute_of(ctx)
    for group in compute.server_groups(service_project(ctx)):
        if group["name"].startswith(LOCALITY):
            yield Change(
                f"remove the server group {group['name']}",
                functools.partial(compute.delete_server_group, group["id"]),
            )


def _flavors(ctx: Context) -> Iterator[Change]:
    """Which a server still has stay, as nova keeps what it needs of them."""
    compute = compute_of(ctx)
    present = compute.flavors()
    for flavor in FLAVORS:
        if flavor.name in present:
            yield Change(
                f"remove the flavor {flavor.name}",
                functools.partial(compute.delete_flavor, present[flavor.name]),
            )
