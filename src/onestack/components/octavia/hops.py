"""At which hop it ends between the service and an amphora that is not heard of."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from onestack.cloudapi.neutron import neutron_of
from onestack.components import service_guests
from onestack.components.octavia import authority, layout
from onestack.database.server import server_of
from onestack.database.upstream_tables import octavia
from onestack.database.upstream_tables.octavia import AmphoraRow
from onestack.host import netns
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse, warn

CONNECT_SECONDS = 5.0
_WHOLE = ("ALLOCATED", "BOOTING", "PENDING_CREATE")


def examine(ctx: Context) -> Iterator[Finding]:
    """What is said of each amphora that should be heard of and is not.

    Raises `OnestackError` when the database, nova or neutron do not answer.
    """
    for row in octavia.amphorae(server_of(ctx)):
        if row.status == "ERROR":
            yield warn(
                f"the amphora {row.identity} is in error",
                f"it could not be made or replaced; the load balancer is {row.balancer}",
                f"onestack logs octavia-api; then openstack loadbalancer failover {row.balancer}",
            )
        elif row.status in _WHOLE and overdue(ctx, row):
            since = "never" if row.silent is None else f"not for {row.silent} s"
            what = f"the amphora {row.identity} was {since} heard of"
            with netns.inside(ctx.cloud.netns):
                why, cure = _hop(ctx, row)
            yield refuse(what, why, cure)


def overdue(ctx: Context, row: AmphoraRow) -> bool:
    if row.silent is None:
        return row.age > layout.boot_seconds(ctx)
    return row.silent > layout.silent_seconds(ctx)


def _hop(ctx: Context, row: AmphoraRow) -> tuple[str, str]:
    """Why, and what to do."""
    renew = f"openstack loadbalancer failover {row.balancer}"
    log = "onestack logs octavia-api"
    if wrong := service_guests.no_server(ctx, row.server, log, renew, f", or {renew}"):
        return wrong
    return _on_the_way(ctx, row, f"openstack console log show {row.server}")


def _on_the_way(ctx: Context, row: AmphoraRow, console: str) -> tuple[str, str]:
    place = f"{row.address}:{layout.AGENT}"
    keeper = layout.management(ctx).process_name
    if not row.address:
        return "it has no address in the network of the amphorae", "onestack logs octavia-api"
    try:
        with (
            socket.create_connection((row.address, layout.AGENT), CONNECT_SECONDS) as plain,
            _context(ctx).wrap_socket(plain),
        ):
            pass
    except ssl.SSLError as error:
        return (
            f"its agent at {place} and the service do not know each other's certificates ({error})",
            f"openstack loadbalancer failover {row.balancer}",
        )
    except ConnectionRefusedError:
        return f"its guest runs, and the agent in it does not (nobody is at {place})", console
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
            return (
                f"this machine has no way to {row.address}",
                f"onestack status {keeper}; onestack restart {keeper}",
            )
        return _silent_guest(ctx, row, console)
    return (
        f"its agent answers at {place}; heartbeats do not arrive at UDP port {layout.HEARTBEATS}",
        f"onestack restart {keeper}; onestack restart octavia-api",
    )


def _silent_guest(ctx: Context, row: AmphoraRow, console: str) -> tuple[str, str]:
    port = neutron_of(ctx).find("port", device_id=row.server, fixed_ips=f"ip_address={row.address}")
    if wrong := port and service_guests.no_port(port):
        return wrong
    return f"nobody answers at {row.address}: its guest has not booted, or hangs", console


def _context(ctx: Context) -> ssl.SSLContext:
    """As the service's own."""
    context = ssl.create_default_context(cafile=str(authority.server_ca(ctx)))
    # Amphorae have names of their own, and no addresses, in their certificates.
    context.check_hostname = False
    context.load_cert_chain(authority.client(ctx))
    return context
