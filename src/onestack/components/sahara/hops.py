"""At which hop it ends between sahara and a machine of a cluster that does not come."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

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
Wrong = tuple[str, str]
"""Why it is not reached, and what to do."""


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
            machines = tables.machines(server, row.identity)
            with netns.inside(ctx.cloud.netns):
                missing = list(_missing(ctx, machines, delete))
            for name, why, cure in missing:
                yield refuse(f"{title} waits for its machine {name}", why, cure)


def _overdue(row: ClusterRow) -> bool:
    return row.status.endswith("Waiting") and row.silent > PATIENCE


def _missing(
    ctx: Context, machines: list[MachineRow], delete: str
) -> Iterator[tuple[str, str, str]]:
    """Each that has not come: its name, why, and what to do."""
    gateways = {each.name: _hop(ctx, each, delete) for each in machines if each.is_gateway}
    for machine in machines:
        if machine.has_come:
            continue
        wrong = gateways.get(machine.name) or _hop(ctx, machine, delete)
        if wrong is None:
            wrong = _beyond(machine, gateways)
        yield machine.name, *wrong


def _hop(ctx: Context, machine: MachineRow, delete: str) -> Wrong | None:
    """As far as this machine can see: nothing where a gateway is next, or where it has come."""
    if wrong := service_guests.no_server(ctx, machine.server, LOG, delete):
        return wrong
    port = neutron_of(ctx).find("port", device_id=machine.server)
    if port is None:
        return "it has no port", delete
    if wrong := service_guests.no_port(port):
        return wrong
    if not machine.address:
        return (
            "sahara has seen no address of it",
            f"openstack server show {machine.server} -c addresses; {LOG}",
        )
    return None if machine.is_behind else _by_ssh(machine, delete)


def _by_ssh(machine: MachineRow, delete: str) -> Wrong | None:
    console = f"openstack console log show {machine.server}"
    try:
        socket.create_connection((machine.address, SSH), CONNECT_SECONDS).close()
    except OSError as error:
        if machine.address == machine.inner:
            return _without_floating_ip(machine, error, delete)
        return (
            f"it is not reached by ssh at {machine.address} ({error})",
            f"{console}; is there a way from this machine to its address "
            "(CONFIG_ONESTACK_EXTERNAL_ADDRESS, or onestack nic attach), and do its security "
            "groups let ssh in",
        )
    if machine.has_come:
        return None
    return (
        f"it answers by ssh at {machine.address}, and does not let sahara in",
        f"{console}: did it run its user data, and is its image's _sahara_username the one who "
        "logs in",
    )


def _without_floating_ip(machine: MachineRow, error: OSError, delete: str) -> Wrong:
    """Sahara then takes its address on the cluster's network, where this machine rarely is."""
    why = (
        f"it is not reached by ssh at {machine.address}, its address on the cluster's own network "
        f"({error}): "
    )
    if machine.pool:
        # Upstream asks nova once, and keeps what it was told.
        return (
            f"{why}sahara has seen no floating IP of it, though its node group has a pool",
            f"openstack server show {machine.server} -c addresses: has it one now; in any case "
            f"{delete}, and create it again",
        )
    others = (
        "" if machine.is_gateway else ", or the cluster a node group with that and --proxy-gateway"
    )
    return (
        f"{why}its node group has no floating IPs",
        f"its node group needs --floating-ip-pool (the id of a public network){others}; {delete}, "
        "and create it of such templates. Where this machine has a way to that network: "
        f"openstack console log show {machine.server}",
    )


def _beyond(machine: MachineRow, gateways: Mapping[str, Wrong | None]) -> Wrong:
    """Of one that is reached through any of ``gateways`` alone, which sahara chooses by chance."""
    if not gateways:
        return (
            "it is to be reached through the cluster's node group with --proxy-gateway, which has "
            "no machine",
            "openstack dataprocessing cluster scale: that node group needs one",
        )
    well = [name for name, wrong in gateways.items() if wrong is None]
    if not well:
        name, wrong = next((name, wrong) for name, wrong in gateways.items() if wrong)
        return f"it is to be reached through {name}, and of that: {wrong[0]}", wrong[1]
    return (
        f"it is to be reached through {well[0]}, which has come; from there on it cannot be tried "
        "from here",
        f"openstack console log show {machine.server}: did it run its user data; on {well[0]}, "
        f"nc -z {machine.address} {SSH}: is there an nc, and do its security groups let ssh in",
    )
