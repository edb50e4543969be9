"""What balancers leave in OVN and in neutron when their service is gone for good.

The service is not running by then, and with its database nobody would know of
them: OVN is told itself, and knows them by what OVN's driver wrote to each.
"""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi.neutron import neutron_of
from onestack.host.command import run
from onestack.model.change import Change
from onestack.model.context import Context

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

        def remove() -> None:
            for port in ports:
                api.delete("port", port["id"])

        yield Change(f"remove {len(ports)} ports of load balancers", remove)
