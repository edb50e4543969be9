"""What `onestack host` does for the servers of a host: drain, undrain, evacuate."""

from __future__ import annotations

import argparse
import sys

from onestack.cli import output
from onestack.cli.options import resolve_answers
from onestack.cli.session import context
from onestack.cloudapi.begun import Begun
from onestack.cloudapi.compute import Compute, Item, compute_of
from onestack.cloudapi.moving import Left, Moving
from onestack.cluster.names import normal
from onestack.components import hosts
from onestack.host import netns
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError

REASON = "onestack host drain"
"""Why a compute service takes no more servers, as nova shows it."""


def run(cloud: Cloud, args: argparse.Namespace) -> int:
    ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
    with netns.inside(cloud.netns):
        compute = compute_of(ctx)
        name = host_of(ctx, args.host)
        service = service_of(compute, name)
        if args.what == "drain":
            return drained(ctx, compute, name, service)
        if args.what == "undrain":
            return undrained(ctx, compute, name, service)
        return evacuated(ctx, compute, name, service, args.yes)


def begun(ctx: Context, host: str) -> Begun:
    """Kept by the cloud, root's: what a drain that is killed has done with servers that are off."""
    return Begun(ctx.cloud.etc / f"draining-{host}.json")


def host_of(ctx: Context, text: str) -> str:
    """The name as nova has it: the controller's own is the machine's, as it was."""
    wanted = normal(text)
    return ctx.host.name if wanted == normal(ctx.host.name) else wanted


def service_of(compute: Compute, name: str) -> Item:
    """Of a host that was removed, too: as long as it has servers nova keeps it."""
    found = compute.service(name)
    if found is None:
        raise OnestackError(
            f"nova knows no host called {name!r}",
            "no compute service of that name has ever been there, or it was removed",
            "openstack compute service list; onestack host list",
        )
    return found


def drained(ctx: Context, compute: Compute, name: str, service: Item) -> int:
    """Exit code: 1 where a server is still there."""
    servers = compute.on_host(name)
    if servers and service["state"] != "up":
        raise OnestackError(
            f"the compute service of {name} is down",
            "servers are moved by the host that they are on",
            f"onestack status on {name}; if the host is dead: onestack host evacuate {name}",
        )
    if servers and not hosts.moving(ctx):
        raise OnestackError(
            f"servers of {name} cannot be moved",
            f"hosts of this cloud are not to hear one another ({hosts.MOVE}=n)",
            f"onestack up --set {hosts.MOVE}=y here; the other hosts follow within a minute",
        )
    if service["status"] != "disabled":
        compute.change_service(service["id"], status="disabled", disabled_reason=REASON)
    output.say(f"{name} is given no more servers.")
    left = Moving(compute, name, begun(ctx, name), output.say).drained()
    stay = [one for one in left if one.there]
    if stay:
        tell(stay, f"{len(stay)} of {len(servers)} servers are still on {name}:")
    tell_elsewhere([one for one in left if not one.there], name)
    if left:
        return 1
    output.say(f"{name} has no servers. It takes some again after: onestack host undrain {name}")
    return 0


def undrained(ctx: Context, compute: Compute, name: str, service: Item) -> int:
    """Exit code: 1 where what a killed drain has begun could not be ended."""
    if service["status"] == "disabled" and service.get("disabled_reason") != REASON:
        raise OnestackError(
            f"{name} was not drained, but disabled otherwise",
            f"the reason that nova has: {service.get('disabled_reason') or 'none'}",
            f"openstack compute service set --enable {name} nova-compute",
        )
    if service["status"] == "disabled":
        compute.change_service(service["id"], status="enabled")
    output.say(f"{name} is given servers.")
    left = Moving(compute, name, begun(ctx, name), output.say).ended()
    tell_elsewhere(left, name)
    return int(bool(left))


def evacuated(ctx: Context, compute: Compute, name: str, service: Item, yes: bool) -> int:
    """Exit code: 1 where a server is still there."""
    if service["state"] == "up":
        raise OnestackError(
            f"the host {name} is alive",
            "servers of a host that runs would run twice, with the same addresses",
            f"onestack host drain {name}. If it is dead nova knows within a minute; before that: "
            f"openstack compute service set --down {name} nova-compute",
        )
    servers = compute.on_host(name)
    if not servers:
        output.say(f"{name} has no servers.")
        return 0
    question = (
        f"{name} must be off, and stay off until this is done. Make its {len(servers)} servers "
        f"anew elsewhere? What was on their disks there is lost; volumes are kept."
    )
    if not output.confirm(question, yes):
        raise BadAnswers(
            f"the {len(servers)} servers of {name} were not made anew",
            "what was on their disks there would be lost (not volumes), and if the host is not off "
            "they would run twice",
            "say so with --yes",
        )
    left = Moving(compute, name, begun(ctx, name), output.say).evacuated()
    if left:
        tell(left, f"{len(left)} of {len(servers)} servers of {name} were not made anew:")
        return 1
    output.say(
        f"{name} has no servers. When it comes back it deletes what it has of them; for good: "
        f"onestack host remove {name}"
    )
    return 0


def tell_elsewhere(left: list[Left], name: str) -> None:
    if left:
        tell(left, f"{len(left)} servers have left {name}, which keeps what they were:")


def tell(left: list[Left], what: str) -> None:
    output.say(what, sys.stderr)
    for one in left:
        output.say(f"  {one.name} ({one.identity}): {one.why}", sys.stderr)
