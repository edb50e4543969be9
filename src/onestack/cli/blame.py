"""Where the time of the last run went, step by step, the slowest first."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator

from onestack.cli import on_hosts, output
from onestack.cli.options import cloud_of, cloud_options, host_option, json_option
from onestack.engine import timing
from onestack.model.errors import OnestackError


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    host_option(parser)
    parser.add_argument("--verb", default="up", help="which verb's last run (default: up)")
    parser.add_argument("-n", type=int, default=20, metavar="COUNT", help="at most so many steps")


def run(args: argparse.Namespace) -> int:
    return on_hosts.run("blame", args, here, words)


def words(args: argparse.Namespace) -> Iterator[str]:
    """As another host is asked the same."""
    yield from (f"--verb={args.verb}", f"-n{args.n}")


def here(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    runs = [r for r in timing.load(cloud.log) if r.verb == args.verb]
    if not runs:
        raise OnestackError(
            f"no `onestack {args.verb}` of the cloud {cloud.name!r} is on record",
            f"there is none in {cloud.log}/timings.json",
        )
    last = runs[-1]
    if args.json:
        output.as_json(dataclasses.asdict(last))
        return 0
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.at))
    output.say(f"onestack {last.verb}, ended {when}: {last.seconds:.1f} s")
    output.table(("BEGAN", "TOOK", "STEP", "BECAME"), timing.blame(last)[: args.n])
    return 0
