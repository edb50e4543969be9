"""The demo's project, user, networks and router, through the cloud's own APIs."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from onestack.cloudapi.keystone import (
    Grant,
    Item,
    User,
    ensure_project,
    ensure_user,
    keystone_of,
)
from onestack.cloudapi.neutron import NeutronApi, neutron_of
from onestack.components.provision import state
from onestack.components.provision.contents import DESCRIPTION
from onestack.components.provision.keys import TEMPEST, accounts, project, secret
from onestack.host.files import ensure_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.network import demo
from onestack.network.bridges import Bridges

PUBLIC, PRIVATE, ROUTER = demo.PUBLIC, "private", "router1"
PUBLIC_SUBNET, PRIVATE_SUBNET = "public_subnet", "private_subnet"
_DEFAULT = {"router:external": "true", "is_default": "true"}
DEFAULTS = "defaults"
"""The note that they were made."""
ROLE = "member"
PROJECT_DESCRIPTION = "To try the cloud"
"""By this and `contents.DESCRIPTION` it is known later whose a thing is: people use such names."""


def ensure_accounts(ctx: Context) -> Iterator[Change]:
    """The project, its user with the password of the answers, and the role."""
    known, name = keystone_of(ctx), project(ctx.answers)
    yield from ensure_project(known, name, PROJECT_DESCRIPTION)
    for account in accounts(ctx.answers):
        password = ctx.secrets[f"{secret(account)}_keystone"]
        # One that the user has chosen stays, unless the answers name another.
        chosen = not _given(ctx, account)
        grants = (Grant(ROLE, name),)
        yield from ensure_user(known, User(account, password, grants, may_choose=chosen))


def _given(ctx: Context, account: str) -> bool:
    which = "CONFIG_KEYSTONE_DEMO_PW" if account == "demo" else f"{TEMPEST}_USER_PW"
    return bool(ctx.answers[which] or ctx.answers["CONFIG_DEFAULT_PASSWORD"])


def ensure_networks(ctx: Context) -> Iterator[Change]:
    """public, and with a project also private and a router between the two."""
    api = neutron_of(ctx)
    bridges = ctx.once(Bridges)
    if not (public := api.find("network", name=PUBLIC)):
        # As the guide's: its routers reach the external bridge; else a network of the provider's.
        kind: Item = {"provider:network_type": "local"}
        if not bridges.external:
            kind = {
                "provider:network_type": "flat",
                "provider:physical_network": bridges.external_network,
            }
        body = {
            "name": PUBLIC,
            "description": DESCRIPTION,
            "router:external": True,
            "is_default": not api.find("network", **_DEFAULT),
            **kind,
        }
        yield Change(f"make the network {PUBLIC}", functools.partial(api.make, "network", **body))
    floats = demo.float_range(ctx.answers)
    if not public or not api.find("subnet", name=PUBLIC_SUBNET, network_id=public["id"]):

        def make_subnet() -> None:
            network = api.needed("network", PUBLIC)
            pools = demo.pools(str(ctx.answers["CONFIG_PROVISION_DEMO_ALLOCATION_POOLS"]))
            listed = [{"start": pool.start, "end": pool.end} for pool in pools]
            api.make(
                "subnet",
                name=PUBLIC_SUBNET,
                network_id=network["id"],
                cidr=str(floats),
                ip_version=floats.version,
                gateway_ip=demo.gateway(ctx.answers),
                enable_dhcp=False,
                **({"allocation_pools": listed} if listed else {}),
            )

        yield Change(f"make the subnet {PUBLIC_SUBNET} ({floats})", make_subnet)
    yield from _ensure_defaults(ctx, api, public)
    if not accounts(ctx.answers):
        return
    yield from _ensure_inside(ctx, api)


def _ensure_defaults(ctx: Context, api: NeutronApi, public: Item | None) -> Iterator[Change]:
    """What neutron makes a network of for a project without one that asks for any.

    An operator's own choice of either stays; so does that there is to be none, later.
    """
    if (note := state.place(ctx, DEFAULTS)).exists():
        return
    if public and not api.find("network", **_DEFAULT):
        yield Change(
            f"make {PUBLIC} the default external network",
            lambda: api.put(f"networks/{public['id']}", {"network": {"is_default": True}}),
        )
    if not api.find("subnetpool", is_default="true", ip_version="4"):
        body = {
            "name": demo.DEFAULT_POOL,
            "description": DESCRIPTION,
            "prefixes": [demo.DEFAULT_POOL_RANGE],
            "default_prefixlen": 26,
            "shared": True,
            "is_default": True,
        }
        yield Change(
            f"make the subnet pool {demo.DEFAULT_POOL} ({demo.DEFAULT_POOL_RANGE})",
            functools.partial(api.make, "subnetpool", **body),
        )
    yield from ensure_file(note, f"{PUBLIC}\n{demo.DEFAULT_POOL}\n", mode=0o600)


def _ensure_inside(ctx: Context, api: NeutronApi) -> Iterator[Change]:
    def owner() -> str:
        return str(keystone_of(ctx).projects[project(ctx.answers)]["id"])

    there = project(ctx.answers) in keystone_of(ctx).projects
    own = {"project_id": owner()} if there else {"project_id": "none"}
    private = api.find("network", name=PRIVATE, **own)
    if not private:
        yield Change(
            f"make the network {PRIVATE}",
            lambda: api.make("network", name=PRIVATE, project_id=owner()),
        )
    subnet = api.find("subnet", name=PRIVATE_SUBNET, **own)
    if not subnet:

        def make_subnet() -> None:
            api.make(
                "subnet",
                name=PRIVATE_SUBNET,
                project_id=owner(),
                network_id=api.needed("network", PRIVATE, project_id=owner())["id"],
                cidr=demo.FIXED_RANGE,
                ip_version=4,
            )

        yield Change(f"make the subnet {PRIVATE_SUBNET} ({demo.FIXED_RANGE})", make_subnet)
    router = api.find("router", name=ROUTER, **own)
    if not router:

        def make_router() -> None:
            outside = {"network_id": api.needed("network", PUBLIC)["id"]}
            api.make("router", name=ROUTER, project_id=owner(), external_gateway_info=outside)

        yield Change(f"make the router {ROUTER}", make_router)
    plugged = (
        subnet
        and router
        and api.find("port", device_id=router["id"], fixed_ips=f"subnet_id={subnet['id']}")
    )
    if not plugged:

        def plug() -> None:
            inside = api.needed("subnet", PRIVATE_SUBNET, project_id=owner())
            made = api.needed("router", ROUTER, project_id=owner())
            api.put(f"routers/{made['id']}/add_router_interface", {"subnet_id": inside["id"]})

        yield Change(f"connect {PRIVATE_SUBNET} to {ROUTER}", plug)
