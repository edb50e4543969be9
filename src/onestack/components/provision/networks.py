"""The demo's project, user, networks and router, through the cloud's own APIs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from keystoneauth1.session import Session

from onestack.cloudapi.identity import Directory, directory
from onestack.cloudapi.session import admin_session
from onestack.components.neutron.layout import Layout
from onestack.components.provision.contents import DESCRIPTION
from onestack.components.provision.keys import TEMPEST, accounts, project, secret
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.network import demo

PUBLIC, PRIVATE, ROUTER = demo.PUBLIC, "private", "router1"
PUBLIC_SUBNET, PRIVATE_SUBNET = "public_subnet", "private_subnet"
ROLE = "member"
PROJECT_DESCRIPTION = "To try the cloud"
"""By this and `contents.DESCRIPTION` it is known later whose a thing is: people use such names."""
Item = dict[str, Any]


def ensure_accounts(ctx: Context) -> Iterator[Change]:
    """The project, its user with the password of the answers, and the role."""
    known = directory(ctx)
    name = project(ctx.answers)
    if name not in known.projects:

        def make_project() -> None:
            body = {"name": name, "domain_id": "default", "description": PROJECT_DESCRIPTION}
            known.projects[name] = known.create("projects", body)

        yield Change(f"make the project {name}", make_project)
    for account in accounts(ctx.answers):
        password = ctx.secrets[f"{secret(account)}_keystone"]
        if account not in known.users:
            body = {"name": account, "domain_id": "default", "password": password}
            yield Change(f"make the user {account}", functools.partial(_make_user, known, body))
        elif _given(ctx, account) and not known.lets_in(account, password):
            # One that the user has chosen stays, unless the answers name another.
            yield Change(
                f"set the password of the user {account}",
                functools.partial(_update_user, known, account, {"password": password}),
            )
        user, there = known.users.get(account), known.projects.get(name)
        grant = (user["id"], there["id"], known.roles[ROLE]["id"]) if user and there else None
        if grant not in known.grants:

            def give(account: str = account) -> None:
                known.grant(
                    known.users[account]["id"],
                    known.projects[name]["id"],
                    known.roles[ROLE]["id"],
                )

            yield Change(f"give {account} the role {ROLE} in {name}", give)


def _given(ctx: Context, account: str) -> bool:
    which = "CONFIG_KEYSTONE_DEMO_PW" if account == "demo" else f"{TEMPEST}_USER_PW"
    return bool(ctx.answers[which] or ctx.answers["CONFIG_DEFAULT_PASSWORD"])


def _make_user(known: Directory, body: Item) -> None:
    known.users[body["name"]] = known.create("users", body)


def _update_user(known: Directory, account: str, body: Item) -> None:
    known.users[account] = known.update("users", known.users[account], body)


class Networks:
    """Neutron's API, as far as it is needed here; what is there is read when asked."""

    def __init__(self, ctx: Context) -> None:
        self.session: Session = admin_session(ctx)
        self.url = f"http://{ctx.internal}:9696/v2.0"

    def all(self, kind: str, **query: str) -> list[Item]:
        answer = self.session.get(f"{self.url}/{kind}s", params=query).json()
        items: list[Item] = answer[f"{kind}s".replace("-", "_")]
        return items

    def find(self, kind: str, **query: str) -> Item | None:
        items = self.all(kind, **query)
        return items[0] if items else None

    def make(self, kind: str, **body: Any) -> None:
        self._say("POST", f"{kind}s", {kind: body})

    def put(self, path: str, body: Item) -> None:
        self._say("PUT", path, body)

    def delete(self, kind: str, identity: str) -> None:
        self._say("DELETE", f"{kind}s/{identity}")

    def _say(self, method: str, path: str, body: Item | None = None) -> None:
        """Raises `OnestackError` with neutron's own words, which keystoneauth does not read."""
        answer = self.session.request(f"{self.url}/{path}", method, json=body, raise_exc=False)
        gone = method == "DELETE" and answer.status_code == 404
        if answer.status_code >= 400 and not gone:
            raise OnestackError(
                f"neutron refuses {method} {path} ({answer.status_code})",
                answer.text[:500],
                "see `onestack logs neutron-api`, then run up again",
            )


def ensure_networks(ctx: Context) -> Iterator[Change]:
    """public, and with a project also private and a router between the two."""
    api = Networks(ctx)
    layout = Layout(ctx)
    if not (public := api.find("network", name=PUBLIC)):
        # As the guide's: its routers reach the external bridge; else a network of the provider's.
        kind: Item = {"provider:network_type": "local"}
        if not layout.external_bridge:
            kind = {
                "provider:network_type": "flat",
                "provider:physical_network": layout.external_network,
            }
        body = {
            "name": PUBLIC,
            "description": DESCRIPTION,
            "router:external": True,
            **kind,
        }
        yield Change(f"make the network {PUBLIC}", functools.partial(api.make, "network", **body))
    floats = demo.float_range(ctx.answers)
    if not public or not api.find("subnet", name=PUBLIC_SUBNET, network_id=public["id"]):

        def make_subnet() -> None:
            network = _needed(api, "network", PUBLIC)
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
    if not accounts(ctx.answers):
        return
    yield from _ensure_inside(ctx, api)


def _ensure_inside(ctx: Context, api: Networks) -> Iterator[Change]:
    def owner() -> str:
        return str(directory(ctx).projects[project(ctx.answers)]["id"])

    there = project(ctx.answers) in directory(ctx).projects
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
                network_id=_needed(api, "network", PRIVATE, project_id=owner())["id"],
                cidr=demo.FIXED_RANGE,
                ip_version=4,
            )

        yield Change(f"make the subnet {PRIVATE_SUBNET} ({demo.FIXED_RANGE})", make_subnet)
    router = api.find("router", name=ROUTER, **own)
    if not router:

        def make_router() -> None:
            outside = {"network_id": _needed(api, "network", PUBLIC)["id"]}
            api.make("router", name=ROUTER, project_id=owner(), external_gateway_info=outside)

        yield Change(f"make the router {ROUTER}", make_router)
    plugged = (
        subnet
        and router
        and api.find("port", device_id=router["id"], fixed_ips=f"subnet_id={subnet['id']}")
    )
    if not plugged:

        def plug() -> None:
            inside = _needed(api, "subnet", PRIVATE_SUBNET, project_id=owner())
            made = _needed(api, "router", ROUTER, project_id=owner())
            api.put(f"routers/{made['id']}/add_router_interface", {"subnet_id": inside["id"]})

        yield Change(f"connect {PRIVATE_SUBNET} to {ROUTER}", plug)


def _needed(api: Networks, kind: str, name: str, **query: str) -> Item:
    found = api.find(kind, name=name, **query)
    assert found, f"{kind} {name} was made a moment ago"
    return found
