"""Have a NIC of the machine's carry the cloud's networks too, or give it back; show where it is.

The machine keeps its network while the cloud is stopped, and when it was killed: what the NIC
has goes to a bridge of the machine's own. All is put back unless the gateway answers there,
and unless you confirm in time (--yes: the gateway is enough).
"""

from __future__ import annotations

import argparse
import select as waiting
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from onestack.answers import packstack_file
from onestack.cli import lock, output
from onestack.cli.options import (
    KEPT,
    cloud_of,
    cloud_options,
    json_option,
    keep,
    need_cloud,
    resolve_answers,
    yes_option,
)
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError

TIMEOUT = 60.0


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    attach = what.add_parser("attach", help="put a NIC into a bridge", allow_abbrev=False)
    attach.add_argument("nic", metavar="IFACE", help="such as eno1, bond0 or eno1.100")
    attach.add_argument("--bridge", default="", help="the bridge (default: the external one)")
    detach = what.add_parser("detach", help="give it back to the machine", allow_abbrev=False)
    detach.add_argument("nic", metavar="IFACE")
    detach.add_argument(
        "--keep-files",
        action="store_true",
        help="leave files of the machine's network as they are where somebody has edited them",
    )
    for parser in (attach, detach):
        parser.add_argument(
            "--timeout",
            type=float,
            default=TIMEOUT,
            metavar="SECONDS",
            help="time to confirm; then all is put back (default: %(default)g)",
        )
        yes_option(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        cloud_options(parser)
    show = what.add_parser("show", help="which NIC is where", allow_abbrev=False)
    json_option(show)
    cloud_options(show)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    need_cloud(cloud)
    if args.what == "show":
        return show(cloud, args)
    if not (args.yes or args.dry_run or sys.stdin.isatty()):
        raise BadAnswers(
            "nobody is there to confirm that the machine is still reached",
            "this is no terminal",
            "say --yes: the gateway's answer is enough then",
        )
    with lock.changing(cloud, "nic", args.dry_run):
        return attach(cloud, args) if args.what == "attach" else detach(cloud, args)


def context_of(cloud: Cloud, args: argparse.Namespace) -> Context:
    from onestack.cli.session import context

    return context(cloud, resolve_answers(cloud, args).answers, keep=False)


def attach(cloud: Cloud, args: argparse.Namespace) -> int:
    from onestack.components.openvswitch import nics
    from onestack.host import netns
    from onestack.network.nic import operations
    from onestack.network.nic.fitness import Way

    ctx, nic = context_of(cloud, args), str(args.nic)
    bridge = nics.target(ctx, nic, args.bridge)
    with netns.inside(cloud.netns):
        if not args.dry_run:
            operations.recover(cloud, output.say)
        fit = operations.fit_of(nic)
        nics.need_free(ctx, nic, bridge, fit)
        if args.dry_run:
            return would(cloud, nic, bridge, fit.way is Way.MOVE, nics.planned(ctx, nic, fit))
        own = operations.attach(cloud, nic, terms(args, nic))
    joined(cloud, args, ctx, (bridge, nic))
    output.say(
        f"{nic} is in {own}, which has its addresses and is joined to {bridge}."
        if own
        else f"{nic} is a port of {bridge}."
    )
    return 0


def detach(cloud: Cloud, args: argparse.Namespace) -> int:
    from onestack.components.openvswitch import nics
    from onestack.host import netns
    from onestack.network.nic import operations

    ctx, nic = context_of(cloud, args), str(args.nic)
    pairs = nics.pairs(ctx)
    here = [pair for pair in pairs if pair[1] == nic]
    if not here and not operations.recorded(cloud, nic):
        raise OnestackError(
            f"{nic} is in no bridge of the cloud {cloud.name!r}",
            "it was never attached, or given back already",
            "onestack nic show tells which are",
        )
    if args.dry_run:
        output.say(f"{nic} would be given back to the machine; nothing was changed.")
        return 0
    with netns.inside(cloud.netns):
        operations.recover(cloud, output.say)
    if here:
        joined(cloud, args, ctx, gone=nic)
    with netns.inside(cloud.netns):
        nics.drop(ctx, here, nic)
        operations.detach(cloud, nic, terms(args, nic))
    output.say(f"{nic} is the machine's alone again.")
    return 0


def terms(args: argparse.Namespace, nic: str) -> Any:
    from onestack.network.nic.operations import Terms

    ask = None if args.yes else confirmer(nic)
    edited = getattr(args, "keep_files", False)
    return Terms(confirm=ask, timeout=args.timeout, tell=output.say, keep_files=edited)


def confirmer(nic: str) -> Callable[[float], bool]:
    def ask(seconds: float) -> bool:
        output.say(
            f"{nic} has moved, and its gateway answers. Is the machine still reached?\n"
            f"Type yes within {seconds:g} s to keep it; anything else puts it back: "
        )
        if not waiting.select([sys.stdin], [], [], seconds)[0]:
            return False
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def joined(
    cloud: Cloud,
    args: argparse.Namespace,
    ctx: Context,
    more: tuple[str, str] | None = None,
    gone: str = "",
) -> None:
    """The answers say it, and the switch is told of it, as the next `up` would."""
    from onestack.components.openvswitch import nics
    from onestack.supervise.client import Client

    wanted = [pair for pair in nics.pairs(ctx) if pair[1] not in (gone, more[1] if more else gone)]
    wanted += [more] if more else []
    value = ",".join(f"{bridge}:{nic}" for bridge, nic in wanted)
    answered = argparse.Namespace(**{**vars(args), "set": [f"{nics.key_of(ctx)}={value}"]})
    packstack_file.save(cloud.etc / KEPT, keep(cloud, resolve_answers(cloud, answered)))
    nics.write(context_of(cloud, args))
    supervisor = Client(cloud)
    if supervisor.running():
        supervisor.restart([nics.KEEPER])
        supervisor.wait([nics.KEEPER], 60.0)
    else:
        output.say("The cloud is down: its switch is joined by the next `onestack up`.")


def would(cloud: Cloud, nic: str, bridge: str, moves: bool, lines: list[str]) -> int:
    for line in lines:
        output.say(line)
    output.say(
        f"{nic} would be joined to {bridge} of the cloud {cloud.name!r}"
        + ("; the machine's network would move as above" if moves else "")
        + "; nothing was changed."
    )
    return 0


@dataclass(frozen=True)
class Row:
    nic: str
    bridge: str
    """The switch's."""
    by: str
    """The machine's own bridge in between, or nothing."""
    state: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    manager: str
    finding: str
    """What is wrong."""


def show(cloud: Cloud, args: argparse.Namespace) -> int:
    """Exit code 1 where one is not where it is to be."""
    from onestack.components.openvswitch import nics

    rows = [Row(**vars(place)) for place in nics.places(context_of(cloud, args))]
    if args.json:
        output.as_json([asdict(row) for row in rows])
    elif rows:
        output.table(
            ("NIC", "BRIDGE", "BY", "STATE", "ADDRESSES", "GATEWAY", "MADE LASTING IN"),
            [
                (
                    *(row.nic, row.bridge, row.by or "-", row.state),
                    *(", ".join(row.addresses) or "-", ", ".join(row.gateways) or "-"),
                    row.manager or "-",
                )
                for row in rows
            ],
        )
        for row in rows:
            if row.finding:
                output.say(f"{row.nic}: {row.finding}")
    else:
        output.say(f"No NIC carries networks of the cloud {cloud.name!r}: onestack nic attach NIC")
    return 1 if any(row.finding for row in rows) else 0
