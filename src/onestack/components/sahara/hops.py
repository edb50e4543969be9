"""At which hop it ends between sahara and a machine of a cluster that does not come."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from onestack.cloudapi.neutron import neutron_of
from onestack.components import service_guests
from onestack.database.server import server_of
from onestack.database.upstream_tables import sahara as tables
from onestack.database.upstream_tables.sahara import ClusterRow, MachineRow
from onestack.host import netns
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse, warn

SSH = 22
CONNECT_SECONDS = 5.0
PATIENCE = 900
"""Seconds in which a machine under emulation has come; upstream waits for three hours."""
LOG = "onestack logs sahara"


def examine(ctx: Context) -> Iterator[Finding]:
    """What is said of each cluster in error, and of one that waits too long for anything.

    Of one that could not be changed upstream says nothing but in its description.

    Raises `OnestackError` when the database, nova or neutron do not answer.
    """
    server = server_of(ctx)
    for row in tables.clusters(server):
        title = f"the cluster {row.name} ({row.identity})"
        # Sahara shows it to nobody else, be it the administrator.
        member = f"whoever is a member of its project {row.project}"
        delete = f"openstack dataprocessing cluster delete {row.identity}, by {member}"
        if row.status == "Error":
            why = row.description or "it could not be made, or changed"
            yield warn(f"{title} is in Error", why, f"{LOG}; then {delete}")
        elif row.status == "Active" and row.description:
            again = f"openstack dataprocessing cluster show {row.identity}, by {member}"
            yield warn(f"{title} was not changed as it was asked", row.description, again)
        elif row.status == "Deleting" and row.silent > PATIENCE:
            # Of this upstream says nothing at all.
            why = "sahara waits for the end of its stack, or has given up"
            cure = f"{LOG} and onestack logs heat say why its stack does not go; then {delete}"
            yield warn(f"{title} is not gone {PATIENCE} s after it was deleted", why, cure)
        elif _overdue(row):
            for machine in tables.machines(server, row.identity):
                with netns.inside(ctx.cloud.netns):
                    wrong = _hop(ctx, machine, delete)
                if wrong:
                    yield refuse(f"{title} waits for its machine {machine.name}", *wrong)


def _overdue(row: ClusterRow) -> bool:
    return row.status.endswith("Waiting") and row.silent > PATIENCE


def _hop(ctx: Context, machine: MachineRow, delete: str) -> tuple[str, str] | None:
    """Why, and what to do; nothing where it is reached."""
    if wrong := service_guests.no_server(ctx, machine.server, LOG, delete):
        return wrong
    port = neutron_of(ctx).find("port", device_id=machine.server)
    if port is None:
        return "it has no port", delete
    if wrong := service_guests.no_port(port):
        return wrong
    if not machine.address:
        return (
            "it has no address by which this machine would reach it",
            "its node group needs floating_ip_pool: the id of a public network",
        )
    try:
        socket.create_connection((machine.address, SSH), CONNECT_SECONDS).close()
    except OSError as error:
        return (
            f"it is not reached by ssh at {machine.address} ({error})",
            f"openstack console log show {machine.server}; is there a way from this machine to "
            "its address (CONFIG_ONESTACK_EXTERNAL_ADDRESS), and do its security groups let ssh in",
        )
    return (
        f"it answers by ssh at {machine.address}, and does not let sahara in",
        f"openstack console log show {machine.server}: did it run its user data, and is its "
        "image's _sahara_username the one who logs in",
    )
