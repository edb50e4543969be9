"""Show how the cloud's networks are wired, from the outside to each server's port.

Exit 0: all is as it should be; 1: something is not, and is told with its cause and cure.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from onestack.cli import output
from onestack.cli.options import cloud_of, cloud_options, json_option, need_cloud, resolve_answers
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import OnestackError

COMPONENTS = ("neutron", "openvswitch", "ovn")
"""Whose processes carry networks; beside them those that keep this machine's own ports."""
KEEPS = "-management"
"""How these are called."""
PLAIN = str.maketrans("│├└─…", "||`-.")
"""For a terminal whose encoding has no lines."""

if TYPE_CHECKING:
    from onestack.network.picture.drawing import Setting
    from onestack.network.picture.model import Nic, Picture, Wrong
    from onestack.supervise.protocol import ProcessStatus


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    show = what.add_parser("show", help="who is plugged in where", allow_abbrev=False)
    show.add_argument(
        "which",
        nargs="?",
        metavar="NETWORK|ROUTER",
        help="one alone, by its name or id (also as namespaces have it: qrouter-…)",
    )
    json_option(show)
    cloud_options(show)


def run(args: argparse.Namespace) -> int:
    # Imported late: options are read where only the standard library is.
    from onestack.network.picture import choice, tree

    cloud = cloud_of(args)
    need_cloud(cloud)
    picture = whole = drawn(cloud, args)
    lines = tree.lines(whole)
    if args.which:
        chosen = choice.choose(whole, args.which)
        picture = choice.narrowed(whole, chosen)
        lines = tree.lines_about(whole, chosen, picture.wrong)
    if args.json:
        output.as_json(picture.to_json())
    else:
        output.say(encodable("\n".join(lines), sys.stdout.encoding))
    return 0 if picture.well else 1


def encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def drawn(cloud: Cloud, args: argparse.Namespace) -> Picture:
    """As it is now. Raises `OnestackError` where the cloud, or neutron, does not run."""
    from onestack.cli.session import context
    from onestack.host import netns
    from onestack.network.picture.drawing import draw
    from onestack.network.picture.gathered import gather
    from onestack.network.picture.judgement import judge

    ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
    if not ctx.offers("network"):
        raise OnestackError(
            f"the cloud {cloud.name!r} has no networks",
            "it was made without a network service",
            "onestack up --set CONFIG_NEUTRON_INSTALL=y",
        )
    known = processes_of(cloud)
    setting, (nics, wrong) = setting_of(ctx, known), nics_of(ctx)
    with netns.inside(cloud.netns):
        found = gather(ctx)
    picture = judge(setting, found, draw(setting, found, nics), unready(known))
    return replace(picture, wrong=(*wrong, *picture.wrong))


def processes_of(cloud: Cloud) -> list[ProcessStatus]:
    """Those of networks, and how they are. Raises `OnestackError` where none runs."""
    from onestack.supervise.client import Client, OtherVersion

    supervisor = Client(cloud)
    if not supervisor.running():
        raise OnestackError(
            f"the cloud {cloud.name!r} is down",
            "nobody tells of its networks, and its switch does not run",
            "onestack up",
        )
    try:
        known = supervisor.status()
    except OtherVersion:
        # Nothing is known of them; what they have made is there to be seen.
        return []
    return [each for each in known if each.component in COMPONENTS or each.name.endswith(KEEPS)]


def unready(known: Iterable[ProcessStatus]) -> dict[str, str]:
    """What is said of those that are not ready."""
    from onestack.supervise.states import State

    return {each.name: each.sentence for each in known if each.state is not State.READY}


def setting_of(ctx: Context, known: Iterable[ProcessStatus]) -> Setting:
    from onestack.components.openvswitch import external_bridge
    from onestack.network import demo
    from onestack.network.bridges import Bridges
    from onestack.network.picture.drawing import Setting

    bridges = ctx.once(Bridges)
    return Setting(
        cloud=ctx.cloud.name,
        layout=bridges.agent,
        host=ctx.host.name,
        datapath=bridges.datapath,
        integration=bridges.integration,
        tunnels=bridges.tunnel,
        external=bridges.external,
        mappings=bridges.all_mappings,
        key=bridges.wiring.source("BRIDGE_MAPPINGS"),
        own={external_bridge(ctx): tuple(demo.machine_addresses(ctx.answers))},
        keepers=frozenset(each.name for each in known if each.name.endswith(KEEPS)),
    )


def nics_of(ctx: Context) -> tuple[dict[str, list[Nic]], tuple[Wrong, ...]]:
    """The machine's, by the switch's bridge that the answers put them into.

    And what is wrong with them, each about the bridge that it names, or the external one.
    """
    from onestack.components.openvswitch import external_bridge, nics
    from onestack.model.findings import refusals
    from onestack.network.nic.plan import Pair
    from onestack.network.picture.model import Nic, Wrong

    found: dict[str, list[Nic]] = {}
    places, said = nics.seen(ctx) if nics.pairs(ctx) else ([], [])
    for place in places:
        if place.bridge:
            port = Pair.of(place.nic, place.bridge).inner if place.by else place.nic
            nic = Nic(place.nic, place.by, port, place.addresses, place.gateways)
            found.setdefault(place.bridge, []).append(nic)
    bridges = [wire.bridge for wire in nics.wires(ctx)]

    def about(what: str) -> str:
        words = re.findall(r"[\w.-]+", what)
        return next((bridge for bridge in bridges if bridge in words), external_bridge(ctx))

    return found, tuple(Wrong(about(each.what), each) for each in refusals(said))
