"""Whether a guest that a service started for itself can be heard of, as nova and neutron know.

For the rooms' own look at what is between them and such a guest; answers are why it cannot,
and what to do.
"""

from __future__ import annotations

from typing import Any

from onestack.cloudapi.compute import compute_of
from onestack.model.context import Context


def no_server(
    ctx: Context, identity: str, log: str, renew: str, start_or: str = ""
) -> tuple[str, str] | None:
    """Nothing where its server runs.

    ``log`` shows what the service did, ``renew`` takes care of a server that is gone, and
    ``start_or`` follows the way to start one that stands still.
    """
    if not identity:
        return "nova was not asked for its server, or refused", log
    server = compute_of(ctx).server(identity)
    if server is None:
        return f"its server {identity} is gone", renew
    if server["status"] != "ACTIVE":
        told = fault(server)
        return (
            f"its server {identity} is {server['status']}" + (f": {told}" if told else ""),
            f"openstack server start {identity}{start_or}",
        )
    return None


def fault(server: dict[str, Any]) -> str:
    """What nova says went wrong with it, or nothing."""
    return str(server.get("fault", {}).get("message", ""))


def no_port(port: dict[str, Any]) -> tuple[str, str] | None:
    """Nothing where the switch has its port."""
    if port["status"] == "ACTIVE":
        return None
    return (
        f"its port {port['id']} is {port['status']}: the switch has not connected it",
        "onestack status neutron",
    )
