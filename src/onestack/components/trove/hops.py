"""At which hop it ends between the service and a database that is not heard of."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.neutron import neutron_of
from onestack.components import service_guests
from onestack.components.trove import config
from onestack.database.server import server_of
from onestack.database.upstream_tables import trove as tables
from onestack.database.upstream_tables.trove import InstanceRow
from onestack.host import netns
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse, warn

CONNECT_SECONDS = 5.0
BOOT_SECONDS = 900
"""A guest that has said nothing for so long since it was made will hardly come."""
SILENT_SECONDS = 180
GIVEN_UP = "guestagent error"
"""What trove writes for an agent when it has waited long enough for it."""


def examine(ctx: Context) -> Iterator[Finding]:
    """What is said of each database that should be heard of and is not.

    Raises `OnestackError` when the database, nova or neutron do not answer.
    """
    for row in tables.instances(server_of(ctx)):
        title = f"the database {row.name} ({row.identity})"
        if row.error:
            with netns.inside(ctx.cloud.netns):
                why, cure = _error(ctx, row)
            yield warn(f"{title} is in error: {row.error}", why, cure)
        elif _overdue(row):
            with netns.inside(ctx.cloud.netns):
                why, cure = _hop(ctx, row)
            since = "never" if row.status == "new" else f"not for {row.silent} s"
            yield refuse(f"{title} was {since} heard of", why, cure)


def _overdue(row: InstanceRow) -> bool:
    if row.status == GIVEN_UP:
        return True
    if row.status == "new":
        return row.age > BOOT_SECONDS
    # While it makes a database an agent says nothing.
    return row.silent > (BOOT_SECONDS if row.status == "building" else SILENT_SECONDS)


def _error(ctx: Context, row: InstanceRow) -> tuple[str, str]:
    """Why, and what to do: as nova says, or where it ends if nothing is heard of it."""
    delete = f"openstack database instance delete {row.identity}"
    server = compute_of(ctx).server(row.server) if row.server else None
    if fault := service_guests.fault(server) if server else "":
        return fault, f"onestack logs trove; then {delete}"
    if server and _overdue(row):
        why, cure = _hop(ctx, row)
        # Trove keeps the error, whatever its agent says later.
        reset = f"openstack database instance reset status {row.identity}"
        return why, f"{cure}; when it is heard of again {reset}; or {delete}"
    return "it could not be made, or changed", f"onestack logs trove; then {delete}"


def _hop(ctx: Context, row: InstanceRow) -> tuple[str, str]:
    """Why, and what to do."""
    log, delete = "onestack logs trove", f"openstack database instance delete {row.identity}"
    if wrong := service_guests.no_server(ctx, row.server, log, delete):
        return wrong
    network = config.management(ctx)
    port = neutron_of(ctx).find("port", device_id=row.server, network_id=network.known().network)
    if port is None:
        return "it has no port in the network of databases", log
    return service_guests.no_port(port) or _bus(ctx, row, network.process_name)


def _bus(ctx: Context, row: InstanceRow, keeper: str) -> tuple[str, str]:
    """Where the guest should come to, tried from this machine."""
    place = (config.management(ctx).address, config.BUS_PORT)
    context = ssl.create_default_context(cafile=str(ctx.authority))
    try:
        with (
            socket.create_connection(place, CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=place[0]),
        ):
            pass
    except ssl.SSLError as error:
        return (
            f"the bus at {place[0]}:{place[1]} shows a certificate that guests do not trust "
            f"({error})",
            "run onestack up again",
        )
    except OSError as error:
        return (
            f"the bus is not to be reached at {place[0]}:{place[1]} ({error})",
            f"onestack status {keeper}; onestack restart {keeper}; onestack restart haproxy",
        )
    return (
        "its guest runs, and its agent does not speak: it has not booted, or hangs",
        f"openstack console log show {row.server}; openstack server reboot --hard {row.server}",
    )
