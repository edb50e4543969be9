"""What clusters leave in other services when sahara is gone for good.

Sahara does not run by then, and heat mostly goes with it. What a cluster has its stack knows from
the moment that it is made; sahara itself, and what is made, mostly do not. So heat's own tables are
asked while they are there: heat is purged after it.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator

from keystoneauth1.exceptions import NotFound

from onestack.cloudapi.compute import compute_of, remove_servers
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.image import images_of
from onestack.cloudapi.keystone import keystone_of, remove_domain
from onestack.cloudapi.neutron import Item, NeutronApi, neutron_of
from onestack.cloudapi.service_images import KIND, remove_all
from onestack.cloudapi.session import admin_session
from onestack.components.sahara import config, domain
from onestack.components.sahara.guest import RECIPE
from onestack.database.server import Server, server_of
from onestack.database.upstream_tables import heat
from onestack.database.upstream_tables import sahara as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError

MARK = "Data Processing Cluster by Sahara"
"""How the description begins of a security group that was made for a cluster."""
PORT_NAME = "-port"
"""How the name ends of a port of a cluster's machine."""
FORCED = {"OpenStack-API-Version": "volume 3.23"}
"""Since this version cinder heeds `force`; a request that names none is of the first."""
REGISTERED = "_sahara_"
"""How the names of properties begin by which sahara knows an image."""
GONE_SECONDS = 300.0
SHOWN = 5
SERVER, SERVER_GROUP = "OS::Nova::Server", "OS::Nova::ServerGroup"
PORT, GROUP = "OS::Neutron::Port", "OS::Neutron::SecurityGroup"
ADDRESS, VOLUME = "OS::Neutron::FloatingIP", "OS::Cinder::Volume"
Held = dict[str, set[str]]
"""By heat's name of a type, the ids of what clusters' stacks made."""


def remove(ctx: Context) -> Iterator[Change]:
    """Raises `OnestackError` where it would take heat away from others."""
    alone = not ctx.offers("orchestration")
    if alone and ctx.offers("database"):
        _refuse_for_others(ctx)
    known = _held(ctx) if ctx.offers("database") else {}
    if ctx.offers("network"):
        yield from _lost(ctx, known)
    if alone:
        yield from _each(ctx, known)
    elif ctx.offers("database"):
        yield from _stacks(ctx)
    if ctx.offers("network"):
        yield from _groups(neutron_of(ctx), known, alone)
    if ctx.offers("compute"):
        compute = compute_of(ctx)
        if flavor := compute.flavors().get(config.NODE.name):
            what = f"remove the flavor {config.NODE.name}"
            yield Change(what, functools.partial(compute.delete_flavor, flavor))
    if ctx.offers("image"):
        yield from remove_all(ctx, RECIPE)
        yield from _registrations(ctx)
    if ctx.offers("identity"):
        users = "the users of jobs and clusters"
        yield from remove_domain(keystone_of(ctx), config.DOMAIN, domain.DESCRIPTION, users)


def _refuse_for_others(ctx: Context) -> None:
    """Heat was on for sahara, and goes with it: not with what others have made by it."""
    server = server_of(ctx)
    if not server.exists(tables.DATABASE) or not _has_stacks(server):
        return
    if others := heat.untagged(server, config.STACK_TAG):
        names = ", ".join(stack.name for stack in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise OnestackError(
            "data processing is not removed: the orchestration service would go with it",
            f"it has {len(others)} stacks that are no cluster's ({names}{more}): what they made "
            "would run on, and nobody could change or delete it by its stack",
            "keep it: CONFIG_HEAT_INSTALL=y beside up --purge; to be rid of it too, delete those "
            "stacks before, or run up --purge once more with CONFIG_HEAT_INSTALL=n afterwards",
        )


def _has_stacks(server: Server) -> bool:
    return server.tables(heat.STACKS.database) >= heat.TABLES


def _held(ctx: Context) -> Held:
    """All that clusters have, also while they are being made: their stacks know it first."""
    server = server_of(ctx)
    return heat.held(server, config.STACK_TAG) if _has_stacks(server) else {}


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


def _lost(ctx: Context, known: Held) -> Iterator[Change]:
    """What heat asked for, and did not hear of any more when it was ended: no stack has it.

    A server is known by its port, and a port by the cluster's group, which it would keep.
    """
    api = neutron_of(ctx)
    groups = {group["id"] for group in _ours(api, known)}
    if not groups and not known.get(PORT):
        return
    ports = api.all("port")
    if ctx.offers("compute"):
        yield from _servers(
            ctx,
            {
                str(port["device_id"])
                for port in ports
                if port["id"] in known.get(PORT, ()) and port["device_owner"].startswith("compute:")
            }.difference(known.get(SERVER, ())),
        )
    for port in ports:
        unused = port["name"].endswith(PORT_NAME) and not port["device_id"]
        mine = not groups.isdisjoint(port["security_groups"])
        if unused and mine and port["id"] not in known.get(PORT, ()):
            yield _removal(api, "port", port)


def _each(ctx: Context, known: Held) -> Iterator[Change]:
    """What heat would remove with the stacks; it is not there any more."""
    if ctx.offers("compute"):
        yield from _servers(ctx, known.get(SERVER, set()))
        yield from _server_groups(ctx, known.get(SERVER_GROUP, set()))
    if ctx.offers("network"):
        api, ports = neutron_of(ctx), known.get(PORT, set())
        for address in api.all("floatingip") if ports else ():
            if address["id"] in known.get(ADDRESS, ()) or address["port_id"] in ports:
                yield _removal(api, "floatingip", address)
        for port in api.all("port") if ports else ():
            if port["id"] in ports:
                yield _removal(api, "port", port)
    if ctx.offers("block-storage"):
        yield from _volumes(ctx, known.get(VOLUME, set()))


def _removal(api: NeutronApi, kind: str, item: Item) -> Change:
    name = item.get("floating_ip_address") or item["name"]
    title = {"floatingip": "floating IP"}.get(kind, kind)
    what = f"remove the {title} {name} of a cluster"
    return Change(what, functools.partial(api.delete, kind, item["id"]))


def _servers(ctx: Context, known: set[str]) -> Iterator[Change]:
    """Their ports and volumes can go when they are gone."""
    compute = compute_of(ctx)
    if there := [server for server in sorted(known) if compute.server(server)]:
        what = f"remove the servers of clusters ({len(there)})"
        yield Change(what, functools.partial(remove_servers, compute, there))


def _server_groups(ctx: Context, known: set[str]) -> Iterator[Change]:
    """By which machines of a cluster are kept on different hosts."""
    compute = compute_of(ctx)
    for group in compute.server_groups() if known else ():
        if group["id"] in known:
            what = f"remove the server group {group['name']} of a cluster"
            yield Change(what, functools.partial(compute.delete_server_group, group["id"]))


def _groups(api: NeutronApi, known: Held, alone: bool) -> Iterator[Change]:
    """With heat, those that no stack takes along."""
    for group in _ours(api, known):
        if alone or group["id"] not in known.get(GROUP, ()):
            what = f"remove the security group {group['name']} of a cluster"
            yield Change(what, functools.partial(_remove_group, api, group))


def _ours(api: NeutronApi, known: Held) -> list[Item]:
    """Security groups that were made for clusters."""
    return [
        group
        for group in api.all("security-group")
        if group["id"] in known.get(GROUP, ()) or str(group["description"]).startswith(MARK)
    ]


def _remove_group(api: NeutronApi, group: Item) -> None:
    """Raises `OnestackError` where somebody has given it to a port of his own."""
    if users := [p for p in api.all("port") if group["id"] in p["security_groups"]]:
        raise OnestackError(
            f"the security group {group['name']} of a cluster is not removed",
            f"ports that are not the cluster's have it: {', '.join(p['id'] for p in users)}",
            "take it off them (openstack port unset --security-group "
            f"{group['id']} PORT), then run up --purge again",
        )
    api.delete("security-group", group["id"])


def _volumes(ctx: Context, known: set[str]) -> Iterator[Change]:
    """In whatever state they are; what machines started from is gone with them."""
    url = f"{ctx.url('block-storage')}/volumes"
    for identity in sorted(known):
        if volume := _volume(ctx, f"{url}/{identity}"):
            what = f"remove the volume {volume['name'] or identity} of a cluster"
            yield Change(what, functools.partial(_remove_volume, ctx, f"{url}/{identity}"))


def _volume(ctx: Context, url: str) -> Item | None:
    with contextlib.suppress(NotFound):
        found: Item = admin_session(ctx).get(url).json()["volume"]
        return found
    return None


def _remove_volume(ctx: Context, url: str) -> None:
    """Raises `OnestackError` where somebody has attached it to a server of his own."""
    session, volume = admin_session(ctx), _volume(ctx, url)
    used = [str(each["server_id"]) for each in volume["attachments"]] if volume else []
    compute = compute_of(ctx) if ctx.offers("compute") else None
    if there := [server for server in used if compute and compute.server(server)]:
        raise OnestackError(
            f"the volume {url.rpartition('/')[2]} of a cluster is not removed",
            f"it is attached to a server that is not the cluster's: {', '.join(there)}",
            "detach it (openstack server remove volume), then run up --purge again",
        )
    with contextlib.suppress(NotFound):
        if used:
            # By servers that are there no more.
            free = {"status": "error", "attach_status": "detached"}
            session.post(f"{url}/action", json={"os-reset_status": free})
        session.delete(url, params={"cascade": "true", "force": "true"}, headers=FORCED)


def _registrations(ctx: Context) -> Iterator[Change]:
    """Of images that people brought: they stay, without what sahara wrote on them."""
    images, service = images_of(ctx), service_project(ctx)
    for image in images.all(visibility="all", limit="1000"):
        if image["owner"] == service and image.get(KIND) == RECIPE.name:
            continue
        if names := sorted(name for name in image if name.startswith(REGISTERED)):
            yield Change(
                f"take sahara's properties off the image {image['name']}",
                functools.partial(images.undescribe, image, names),
            )
