"""Stop the cloud. All that is in it stays; `onestack up` starts it again."""

from __future__ import annotations

import argparse

from onestack.cli import lock, output
from onestack.cli.options import cloud_of, cloud_options, json_option, need_cloud
from onestack.supervise.client import Client


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(args: argparse.Namespace) -> int:
    from onestack.cli import screen
    from onestack.deploy import teardown

    cloud = cloud_of(args)
    need_cloud(cloud)
    dry_run = args.dry_run
    with lock.changing(cloud, "down", dry_run), screen.choose(args.json) as show:
        report = teardown.down(cloud, Client(cloud), listeners=[show], dry_run=dry_run)
    if args.json:
        output.line_of_json(
            kind="summary", changes=len(report.changes), seconds=round(report.seconds, 1)
        )
    elif dry_run:
        output.would(report.changes)
    elif report.changes:
        output.say(f"The cloud {cloud.name!r} is down ({report.seconds:.1f} s).")
    else:
        output.say(f"The cloud {cloud.name!r} was down already: 0 changes.")
    return 0
