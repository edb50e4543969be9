"""The demo, or Tempest's account, when the answers have them no more.

What was made here is known by its description. A project goes with all that
neutron has for it; where people keep servers, volumes, images or balancers in it, it stays.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from onestack.cloudapi.image import images_of
from onestack.cloudapi.keystone import Item, KeystoneApi, keystone_of
from onestack.cloudapi.neutron import NeutronApi, neutron_of
from onestack.cloudapi.session import admin_session
from onestack.components.provision import state
from onestack.components.provision.contents import DESCRIPTION
from onestack.components.provision.networks import DEFAULTS, PROJECT_DESCRIPTION, PUBLIC
from onestack.host.files import ensure_no_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError

_NEUTRONS_OWN = ("network:dhcp", "network:distributed")
"""Owners of the ports that each network is given by itself."""


def remove_project(ctx: Context, name: str, user: str, openrc: Path) -> Iterator[Change]:
    """The project ``name``, if it was made here, with all in it and the ``user`` made for it."""
    known = keystone_of(ctx)
    if found := _own_project(known, name):
        _refuse_if_used(ctx, found)
        if ctx.offers("network"):
            yield from _networks(neutron_of(ctx), found["id"])
        yield from _accounts(known, found, user)
    yield from ensure_no_file(openrc)


def _own_project(known: KeystoneApi, name: str) -> Item | None:
    found = known.projects.get(name)
    return found if found and found.get("description") == PROJECT_DESCRIPTION else None


def _refuse_if_used(ctx: Context, owner: Item) -> None:
    """Raises `OnestackError` where people have something in the project."""
    session = admin_session(ctx)
    used = []
    for component in ctx.components:
        for holding in component.holdings:
            path = holding.path
            if "{own}" in path:
                path = path.format(own=session.get_project_id())
            url = ctx.url(component.provides[0].name) + path
            what = holding.path.rpartition("/")[2]
            of = {name: value.format(project=owner["id"]) for name, value in holding.query.items()}
            there = session.get(url, params=of).json()[what]
            used += [f"{len(there)} {what}"] if there else []
    if used:
        raise OnestackError(
            f"the project {owner['name']} is not removed",
            f"people have {' and '.join(used)} in it",
            "delete them (openstack server list --project …, and so on), then run up --purge again",
        )


def _networks(api: NeutronApi, owner: str) -> Iterator[Change]:
    """All that neutron has for the project, in the order in which it lets go."""
    of = {"project_id": owner}
    for address in api.all("floatingip", **of):
        yield _gone(api, "floatingip", address, address["floating_ip_address"])
    for router in api.all("router", **of):
        yield Change(
            f"remove the router {router['name']}",
            functools.partial(_remove_router, api, router),
        )
    for kind in ("port", "network", "security-group"):
        for item in api.all(kind, **of):
            # What neutron made for itself goes with its network.
            if not (kind == "port" and item["device_owner"].startswith("network:")):
                yield _gone(api, kind, item, item["name"] or item["id"])


def _remove_router(api: NeutronApi, router: Item) -> None:
    for port in api.all("port", device_id=router["id"], device_owner="network:router_interface"):
        api.put(f"routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
    api.delete("router", router["id"])


def _gone(api: NeutronApi, kind: str, item: Item, name: str) -> Change:
    return Change(f"remove the {kind} {name}", functools.partial(api.delete, kind, str(item["id"])))


def _accounts(known: KeystoneApi, owner: Item, name: str) -> Iterator[Change]:
    """The user that was made for the project, unless it has come to be more; and the project."""
    user = known.users.get(name)
    if user and {place for who, place, _ in known.grants if who == user["id"]} <= {owner["id"]}:
        yield Change(
            f"remove the user {name}",
            functools.partial(_delete, known, "users", known.users, name),
        )
    yield Change(
        f"remove the project {owner['name']}",
        functools.partial(_delete, known, "projects", known.projects, owner["name"]),
    )


def _delete(known: KeystoneApi, kind: str, listed: dict[str, Item], name: str) -> None:
    known.delete(kind, listed.pop(name))


def remove_network(ctx: Context, note: Path) -> Iterator[Change]:
    """The public network, unless others than the projects made here use it by now."""
    if ctx.offers("network"):
        api = neutron_of(ctx)
        network = api.find("network", name=PUBLIC, description=DESCRIPTION)
        if network:
            if _users(api, network["id"]) - _own_projects(keystone_of(ctx)):
                return
            yield _gone(api, "network", network, PUBLIC)
        for pool in api.all("subnetpool", description=DESCRIPTION):
            # Where people have subnets of it, it stays.
            if not api.all("subnet", subnetpool_id=pool["id"]):
                yield _gone(api, "subnetpool", pool, pool["name"])
    yield from ensure_no_file(state.place(ctx, DEFAULTS))
    yield from ensure_no_file(note)


def _own_projects(known: KeystoneApi) -> set[str]:
    """Of the projects made here; a dry run finds them still there."""
    found = (_own_project(known, name) for name in ("demo", "tempest"))
    return {project["id"] for project in found if project}


def _users(api: NeutronApi, network: str) -> set[str]:
    """The projects that have something in a network."""
    using = [
        *api.all("floatingip", floating_network_id=network),
        *(
            router
            for router in api.all("router")
            if (router["external_gateway_info"] or {}).get("network_id") == network
        ),
        # Those of routers and floating IPs are nobody's; neutron's own go with the network.
        *(
            port
            for port in api.all("port", network_id=network)
            if port["project_id"] and port["device_owner"] not in _NEUTRONS_OWN
        ),
    ]
    return {each["project_id"] for each in using}


def remove_image(ctx: Context, note: Path) -> Iterator[Change]:
    if ctx.offers("image"):
        images = images_of(ctx)
        name = str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"])
        for image in images.all(name=name, description=DESCRIPTION):
            yield Change(
                f"remove the image {image['name']}", functools.partial(images.delete, image)
            )
    yield from ensure_no_file(note)
