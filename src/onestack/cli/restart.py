"""Restart a component, or one of its processes. Running instances keep their network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from onestack.cli import lock, on_hosts, output
from onestack.cli.options import cloud_of, cloud_options, host_option, resolve_answers
from onestack.cli.select import HELP, roster, select
from onestack.cluster.verbs import number
from onestack.model.errors import BadAnswers
from onestack.supervise.client import Client
from onestack.supervise.protocol import ProcessStatus


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    host_option(parser)
    parser.add_argument("what", metavar="COMPONENT[/PROCESS]", help=HELP)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds (default: 120)")


ANSWERING = ("door", "door/follower", "follower")
"""How what answers on a host may be named."""


def run(args: argparse.Namespace) -> int:
    return on_hosts.run("restart", args, here, words, args.timeout)


def words(args: argparse.Namespace) -> Iterator[str]:
    """As another host is asked the same. Raises `BadAnswers`."""
    if args.what in ANSWERING:
        raise BadAnswers(
            f"{args.what} is not restarted by --host",
            "it is what answers: it would end before it could",
            f"on that host: onestack restart {args.what}",
        )
    yield f"--timeout={number(args.timeout)}"
    yield args.what


def here(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    names = [p.name for p in select(roster(cloud).processes, args.what)]
    supervisor = Client(cloud)
    with lock.changing(cloud, "restart"):
        supervisor.restart(names)

        def explain(component: str, text: str) -> str | None:
            # Only a failure needs the components, which take a while to import.
            from onestack.cli.session import context, explainer

            ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
            return explainer(ctx)(component, text)

        supervisor.wait(names, args.timeout, explain=explain)
    for status in supervisor.status():
        if status.name in names:
            tell(status, max(map(len, names)))
    return 0


def tell(status: ProcessStatus, width: int) -> None:
    output.say(f"{status.name:<{width}}  {status.sentence}{status.inside}")
