"""What clusters leave in other services when sahara is gone for good.

Sahara does not run by then, and heat may have gone with it; with sahara's tables nobody would
know which machines were a cluster's.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Iterator

from keystoneauth1.exceptions import NotFound

from onestack.cloudapi.compute import compute_of, remove_servers
from onestack.cloudapi.image import images_of
from onestack.cloudapi.keystone import keystone_of, remove_domain
from onestack.cloudapi.neutron import NeutronApi, neutron_of
from onestack.cloudapi.service_images import remove_all
from onestack.cloudapi.session import admin_session
from onestack.components.sahara import config, domain
from onestack.components.sahara.guest import RECIPE
from onestack.database.server import server_of
from onestack.database.upstream_tables import heat
from onestack.database.upstream_tables import sahara as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError

MARK = "Data Processing Cluster by Sahara"
"""In the description of what heat makes for a cluster."""
FORCED = {"OpenStack-API-Version": "volume 3.23"}
"""Since this version cinder heeds `force`; a request that names none is of the first."""
REGISTERED = "_sahara_"
"""How the names of properties begin by which sahara knows an image."""
GONE_SECONDS = 300.0


def remove(ctx: Context) -> Iterator[Change]:
    # Asked first: a stack takes its servers along, and sahara's tables go last.
    clusters = _clusters(ctx)
    machines = _machines(ctx, clusters)
    if ctx.offers("orchestration") and ctx.offers("database"):
        yield from _stacks(ctx)
    if ctx.offers("network"):
        yield from _network(neutron_of(ctx), machines)
    if ctx.offers("compute"):
        yield from _servers(ctx, machines)
        yield from _groups_of_servers(ctx, clusters)
    if ctx.offers("block-storage"):
        yield from _volumes(ctx)
    if ctx.offers("image"):
        yield from remove_all(ctx, RECIPE)
        yield from _registrations(ctx)
    if ctx.offers("identity"):
        users = "the users of jobs and clusters"
        yield from remove_domain(keystone_of(ctx), config.DOMAIN, domain.DESCRIPTION, users)


def _clusters(ctx: Context) -> list[tables.ClusterRow]:
    if not ctx.offers("database"):
        return []
    server = server_of(ctx)
    there = server.tables(tables.DATABASE) >= tables.TABLES
    return tables.clusters(server) if there else []


def _machines(ctx: Context, clusters: list[tables.ClusterRow]) -> list[tables.MachineRow]:
    return [
        machine
        for cluster in clusters
        for machine in tables.machines(server_of(ctx), cluster.identity)
        if machine.server
    ]


def _stacks(ctx: Context) -> Iterator[Change]:
    """Each cluster is one, whoever's it is."""
    session, server = admin_session(ctx), server_of(ctx)
    url = f"{ctx.url('orchestration')}/{session.get_project_id()}/stacks"
    if stacks := heat.tagged(server, config.STACK_TAG):

        def delete() -> None:
            for stack in stacks:
                with contextlib.suppress(NotFound):
                    session.delete(f"{url}/{stack.name}/{stack.identity}")
            until = time.monotonic() + GONE_SECONDS
            while left := heat.tagged(server, config.STACK_TAG):
                if time.monotonic() > until:
                    raise OnestackError(
                        f"{len(left)} stacks of clusters do not go",
                        ", ".join(f"{stack.name}: {stack.status}" for stack in left),
                        "see onestack logs heat, then run the same command again",
                    )
                time.sleep(2)

        yield Change(f"remove {len(stacks)} clusters with all that they have", delete)


def _network(api: NeutronApi, machines: list[tables.MachineRow]) -> Iterator[Change]:
    ports = [p for m in machines for p in api.all("port", device_id=m.server)]
    for port in ports:
        for address in api.all("floatingip", port_id=port["id"]):
            yield Change(
                f"remove the floating IP {address['floating_ip_address']} of a cluster",
                functools.partial(api.delete, "floatingip", address["id"]),
            )
        yield Change(
            f"remove the port {port['name']}", functools.partial(api.delete, "port", port["id"])
        )
    for group in api.all("security-group"):
        if MARK in group["description"]:
            yield Change(
                f"remove the security group {group['name']}",
                functools.partial(api.delete, "security-group", group["id"]),
            )


def _servers(ctx: Context, machines: list[tables.MachineRow]) -> Iterator[Change]:
    """Their volumes can go when they are gone."""
    compute = compute_of(ctx)
    if there := [m.server for m in machines if compute.server(m.server)]:
        what = f"remove the servers of clusters ({len(there)})"
        yield Change(what, functools.partial(remove_servers, compute, there))
    if flavor := compute.flavors().get(config.NODE.name):
        what = f"remove the flavor {config.NODE.name}"
        yield Change(what, functools.partial(compute.delete_flavor, flavor))


def _groups_of_servers(ctx: Context, clusters: list[tables.ClusterRow]) -> Iterator[Change]:
    """By which machines of a cluster are kept on different hosts."""
    compute = compute_of(ctx)
    for project in sorted({cluster.project for cluster in clusters}):
        names = [re.escape(c.name.lower()) for c in clusters if c.project == project]
        for group in compute.server_groups(project):
            if re.fullmatch(rf"({'|'.join(names)})-aa-group-\d+", group["name"]):
                yield Change(
                    f"remove the server group {group['name']} of a cluster",
                    functools.partial(compute.delete_server_group, group["id"]),
                )


def _volumes(ctx: Context) -> Iterator[Change]:
    """In whatever state they are: what was mounted on machines that are gone."""
    session, url = admin_session(ctx), f"{ctx.url('block-storage')}/volumes"
    listed = session.get(f"{url}/detail", params={"all_tenants": "1"}).json()
    for volume in listed["volumes"]:
        if MARK in str(volume["description"]):

            def delete(volume: str = volume["id"]) -> None:
                with contextlib.suppress(NotFound):
                    session.delete(
                        f"{url}/{volume}",
                        params={"cascade": "true", "force": "true"},
                        headers=FORCED,
                    )

            yield Change(f"remove the volume {volume['name']} of a cluster", delete)


def _registrations(ctx: Context) -> Iterator[Change]:
    """Of images that people brought: they stay, without what sahara wrote on them."""
    images = images_of(ctx)
    for image in images.all(visibility="all", limit="1000"):
        if names := sorted(name for name in image if name.startswith(REGISTERED)):
            yield Change(
                f"take sahara's properties off the image {image['name']}",
                functools.partial(images.undescribe, image, names),
            )
