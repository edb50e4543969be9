"""What balancers leave elsewhere when their service, or what made them, is gone for good.

The service is not running by then, and with its database nobody would know of
them. OVN knows them by what OVN's driver wrote to each; amphorae, their ports and groups are
known by names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.neutron import Item, NeutronApi, neutron_of
from onestack.cloudapi.service_images import remove_all
from onestack.cloudapi.session import admin_session
from onestack.components.octavia import layout
from onestack.components.octavia.amphora import AMPHORA
from onestack.host.command import run
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError

OWNERS = ("ovn-lb:vip", "ovn-lb-hm:distributed")
"""``device_owner`` of ports that the driver makes: a balancer's address, and a monitor's."""
_MARK = '"neutron:vip_port_id"'
"""In a row of OVN's balancers: neutron's own, for port forwarding, are without."""


def remove_balancers(ctx: Context) -> Iterator[Change]:
    """No balancer of the service's in OVN's northbound database."""
    tool = [str(ctx.cloud.bin / "ovn-nbctl"), "--timeout=20"]
    question = ["--bare", "--columns=_uuid", "find", "Load_Balancer", f"external_ids:{_MARK}!=[]"]
    if rows := run([*tool, *question], timeout=30).out.split():

        def remove() -> None:
            # Switches and routers that refer to them, and their monitors, go along.
            words = (word for row in rows for word in ("--", "destroy", "Load_Balancer", row))
            run([*tool, *words], timeout=30)

        yield Change(f"remove {len(rows)} load balancers from OVN", remove)


def remove_ports(ctx: Context) -> Iterator[Change]:
    """No port that a balancer had from neutron; one that a user brought stays the user's."""
    api = neutron_of(ctx)
    ports = api.all("port", device_owner=list(OWNERS), fields="id")
    if ports:
        yield _removal(api, "port", ports, "ports of load balancers")


_ID = "[0-9a-f-]{36}"
SERVER = f"^amphora-{_ID}$"
OCTAVIAS = "Octavia"
"""``device_owner`` of a balancer's address that the service made itself."""
PORT = re.compile(f"octavia-lb-(vrrp|member)-{_ID}")
"""An amphora's, for the balancer's address or in a members' network."""
GROUP = re.compile(f"lb-{_ID}")


def remove_amphorae(ctx: Context) -> Iterator[Change]:
    """No amphora, and nothing that they had or were made from; a port that a user brought stays.

    Raises `OnestackError` where the service is on, and has balancers that are amphorae.
    """
    if ctx.offers("load-balancer"):
        _refuse_if_used(ctx)
    yield from layout.management(ctx).purge()
    if not ctx.offers("identity"):
        return
    project = service_project(ctx)
    if ctx.offers("compute"):
        yield from _remove_servers(ctx, project)
    if ctx.offers("network"):
        yield from _remove_from_neutron(neutron_of(ctx), project)
    if ctx.offers("image"):
        yield from remove_all(ctx, AMPHORA)


def _refuse_if_used(ctx: Context) -> None:
    url = f"{ctx.url('load-balancer')}/v2/lbaas/loadbalancers"
    answer = admin_session(ctx).get(url, params={"provider": "amphora", "fields": "id"})
    if there := answer.json()["loadbalancers"]:
        raise OnestackError(
            "the provider amphora is not removed",
            f"{len(there)} load balancers are amphorae",
            "switch it on again, delete them (openstack loadbalancer list --provider amphora, "
            "openstack loadbalancer delete --cascade …), then run up --purge without it",
        )


def _remove_servers(ctx: Context, project: str) -> Iterator[Change]:
    """Those too that got no port."""
    compute = compute_of(ctx)
    if servers := compute.servers(SERVER, project):

        def remove() -> None:
            for server in servers:
                compute.remove_server(server["id"])

        yield Change(f"remove {len(servers)} amphorae", remove)
    if flavor := compute.flavors().get(layout.FLAVOR.name):
        what = f"remove the flavor {layout.FLAVOR.name}"
        yield Change(what, lambda: compute.delete_flavor(flavor))


def _remove_from_neutron(api: NeutronApi, project: str) -> Iterator[Change]:
    mine = [port for port in api.all("port", project_id=project) if PORT.fullmatch(port["name"])]
    ports = {port["id"]: port for port in (*mine, *api.all("port", device_owner=OCTAVIAS))}
    groups = [
        group
        for group in api.all("security-group", project_id=project)
        if GROUP.fullmatch(group["name"])
    ]
    for kind, items, what in (
        ("port", list(ports.values()), "ports of amphorae"),
        ("security-group", groups, "security groups of load balancers"),
    ):
        if items:
            yield _removal(api, kind, items, what)


def _removal(api: NeutronApi, kind: str, items: Sequence[Item], what: str) -> Change:
    def remove() -> None:
        for item in items:
            api.delete(kind, item["id"])

    return Change(f"remove {len(items)} {what}", remove)
