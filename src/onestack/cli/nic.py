"""Have a NIC of the machine's carry the cloud's networks too, or give it back; show where it is.

The machine keeps its network while the cloud is stopped, and when it was killed: what the NIC
has goes to a bridge of the machine's own. All is put back unless the gateway answers there,
and unless you confirm in time (--yes: the gateway is enough).
"""

from __future__ import annotations

import argparse
import contextlib
import select as waiting
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
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
from onestack.cli.stopping import told_to_stop
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError

TIMEOUT = 60.0
SHORTEST, LONGEST = 1.0, 3600.0


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
            type=seconds,
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


def seconds(text: str) -> float:
    """Of an operator's time. (No comparison is true of what is no number.)"""
    found = float(text)
    if not SHORTEST <= found <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is not within {SHORTEST:g} and {LONGEST:g}")
    return found


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
    with lock.changing(cloud, "nic", args.dry_run), told_to_stop():
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
            operations.need_movable(cloud, nic, terms(args, nic))
            return would(cloud, nic, bridge, fit.way is Way.MOVE, nics.planned(ctx, nic, fit))
        own = operations.attach(cloud, nic, terms(args, nic))
    answered = answering(args, ctx, (bridge, nic))
    save(cloud, answered)
    nics.write(context_of(cloud, answered))
    if not join(cloud):
        output.say("The cloud is down: its switch is joined by the next `onestack up`.")
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
    here = nics.joining(ctx, nic)
    if not here and not operations.recorded(cloud, nic):
        raise OnestackError(
            f"{nic} is in no bridge of the cloud {cloud.name!r}",
            "it was never attached, or given back already",
            "onestack nic show tells which are",
        )
    with netns.inside(cloud.netns):
        if not args.dry_run:
            operations.recover(cloud, output.say)
        ours = [wire.pair.outer for wire in here]
        operations.need_returnable(cloud, nic, terms(args, nic), ours)
    if args.dry_run:
        output.say(f"{nic} would be given back to the machine; nothing was changed.")
        return 0
    answered = answering(args, ctx, gone=nic)
    apart = parted(cloud, nic, ctx, context_of(cloud, answered))
    with apart if here else contextlib.nullcontext(), netns.inside(cloud.netns):
        said = operations.detach(cloud, nic, terms(args, nic))
    # What the answers do not name any more the next `up` would give back without a question.
    save(cloud, answered)
    output.say(said or f"{nic} is the machine's alone again.")
    return 0


@contextlib.contextmanager
def parted(cloud: Cloud, nic: str, ctx: Context, without: Context) -> Iterator[None]:
    """The switch is not joined to ``nic``; where that is not given back, it is joined again."""
    from onestack.components.openvswitch import nics
    from onestack.host import netns
    from onestack.network.nic.guardian import undisturbed

    try:
        nics.write(without)
        join(cloud)
        with netns.inside(cloud.netns):
            nics.drop(ctx, nic)
        yield
    except BaseException:
        with undisturbed():
            try:
                nics.write(ctx)
                join(cloud)
            except OnestackError as error:
                output.note(f"{nic} is not joined to the switch again: {error}")
        raise


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


def answering(
    args: argparse.Namespace, ctx: Context, more: tuple[str, str] | None = None, gone: str = ""
) -> argparse.Namespace:
    """As if the next `up` was told which NIC is in which bridge then."""
    from onestack.components.openvswitch import nics

    taken = {gone, more[1] if more else gone}
    wanted = [pair for pair in nics.pairs(ctx) if nics.device_of(ctx, pair[1]) not in taken]
    wanted += [more] if more else []
    value = ",".join(f"{bridge}:{nic}" for bridge, nic in wanted)
    return argparse.Namespace(**{**vars(args), "set": [f"{nics.key_of(ctx)}={value}"]})


def save(cloud: Cloud, answered: argparse.Namespace) -> None:
    packstack_file.save(cloud.etc / KEPT, keep(cloud, resolve_answers(cloud, answered)))


def join(cloud: Cloud) -> bool:
    """The switch's keeper does what its file says now; whether it runs."""
    from onestack.components.openvswitch import nics
    from onestack.supervise.client import Client

    supervisor = Client(cloud)
    if not supervisor.running():
        return False
    supervisor.restart([nics.KEEPER])
    supervisor.wait([nics.KEEPER], 60.0)
    return True


def would(cloud: Cloud, nic: str, bridge: str, moves: bool, lines: list[str]) -> int:
    for line in lines:
        output.say(line)
    output.say(
        f"{nic} would be joined to {bridge} of the cloud {cloud.name!r}"
        + ("; the machine's network would move as above" if moves else "")
        + "; nothing was changed."
    )
    return 0


def show(cloud: Cloud, args: argparse.Namespace) -> int:
    """Exit code 1 where one is not where it is to be."""
    from onestack.components.openvswitch import nics

    rows = nics.places(context_of(cloud, args))
    if args.json:
        output.as_json([asdict(row) for row in rows])
    elif rows:
        output.table(
            ("NIC", "BRIDGE", "BY", "STATE", "ADDRESSES", "GATEWAY", "MADE LASTING IN"),
            [
                (
                    *(row.nic, row.bridge or "-", row.by or "-", row.state),
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
