"""Which network has the untagged frames of the external bridge, with Open vSwitch's agents.

`inside.external_openvswitch` gives them to one network at a time. Here it is seen to for what
its rules do not reach: networks of an older program's, another name of the physical network,
and what was changed by the way (an RBAC policy makes a network external, too).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.components.neutron.layout import Layout
from onestack.database.upstream_tables import neutron as tables
from onestack.database.upstream_tables.neutron import Untagged
from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse
from onestack.network.bridges import Bridges

if TYPE_CHECKING:
    from onestack.database.server import Server


def note(ctx: Context) -> Path:
    """Another one after each change here: the agent, whose file it is, is started anew then."""
    return ctx.once(Layout).state / "led-otherwise"


def ensure_led(ctx: Context) -> Iterator[Change]:
    """External networks of type local lead to the external bridge, or do without.

    Of what has ports already the agent takes note when it starts.
    """
    # Imported late: answers and checks run where only the standard library is.
    from onestack.database.server import server_of

    bridges, server = ctx.once(Bridges), server_of(ctx)
    if not bridges.external:
        return
    networks = tables.untagged_networks(server)
    first = chosen(networks, bridges.external_network)
    for network in networks:
        # It may have several segments.
        leads = first is not None and network.identity == first.identity
        wanted = bridges.external_network if leads else ""
        if network.kind != "local" or network.physical == wanted:
            continue
        what = f"lead guests of the external network {network.name} to {bridges.external}"
        if not wanted:
            why = "which another one leads to" if network.external else "it is external no more"
            what = f"lead no guests of the network {network.name} to {bridges.external}: {why}"
        yield Change(what, functools.partial(_lead, ctx, server, network.identity, wanted))


def _lead(ctx: Context, server: Server, network: str, physical: str) -> None:
    # First: a run that is killed in between does both again.
    write_file(note(ctx), f"{time.time_ns()}\n")
    tables.lead(server, network, physical)


def unled(ctx: Context, networks: Sequence[Untagged]) -> Iterator[Finding]:
    """Guests on an external network that are not led out."""
    bridges = ctx.once(Bridges)
    name = bridges.external_network
    holders = [n for n in networks if n.physical == name and (n.kind == "flat" or n.ports)]
    why = f"{bridges.external} carries the frames of one network without a tag"
    cure = "onestack up"
    if holders:
        holder = holders[0]
        why += f", and those are {holder.name}'s"
        # One that is flat has them for as long as it is there.
        away = "network" if holder.kind == "flat" else "ports on"
        cure = (
            "give them floating IPs from networks of their own, or make the network anew of type "
            f"vlan; or delete the {away} {holder.name}, then {cure}"
        )
    for network in networks:
        local = network.kind == "local" and network.external and network.physical != name
        if bridges.external and local and network.guests:
            yield refuse(
                f"{network.guests} guests' ports on the external network {network.name} reach "
                "nothing outside",
                why,
                cure,
            )


def chosen(networks: Sequence[Untagged], physical: str) -> Untagged | None:
    """The local network that is to have the untagged frames of this physical network.

    None where they are a flat network's. Else one with ports before one without, and the one
    that has them before others.
    """
    if any(n.kind == "flat" and n.physical == physical for n in networks):
        return None
    local = [n for n in networks if n.kind == "local" and n.external]
    return max(
        local,
        key=lambda n: (bool(n.ports), n.physical == physical, bool(n.physical), n.guests),
        default=None,
    )
