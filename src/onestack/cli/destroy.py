"""Take the cloud off the machine: everything in it is lost, and all that was made for it goes.

Debian packages stay unless --remove-packages is given; they are listed.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

from onestack.cli import lock, output
from onestack.cli.options import cloud_of, cloud_options, json_option, yes_option
from onestack.model.cloud import CACHE, Cloud
from onestack.model.errors import BadAnswers
from onestack.supervise.client import Client

if TYPE_CHECKING:
    from onestack.deploy.teardown import Destroyed


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    yes_option(parser)
    json_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--keep-cache",
        action="store_true",
        help=f"keep {CACHE} (downloads, environments), though no cloud is left",
    )
    parser.add_argument(
        "--remove-packages",
        action="store_true",
        help="remove the Debian packages that were installed for the cloud",
    )


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    if not cloud.root.exists():
        output.say(f"There is no cloud {cloud.name!r} ({cloud.root}): nothing to destroy.")
        return 0
    if not args.dry_run:
        agreed(cloud, args.yes)
    with contextlib.ExitStack() as stack:
        if lock.exists(cloud):
            stack.enter_context(lock.changing(cloud, "destroy", args.dry_run))
        return take_away(cloud, args)


def take_away(cloud: Cloud, args: argparse.Namespace) -> int:
    """With the cloud's lock held, by the same options."""
    from onestack.cli import screen
    from onestack.deploy import teardown

    with screen.choose(args.json) as show:
        done = teardown.destroy(
            cloud,
            Client(cloud),
            keep_cache=args.keep_cache,
            remove_packages=args.remove_packages,
            listeners=[show],
            dry_run=args.dry_run,
        )
    if args.json:
        output.line_of_json(
            kind="summary",
            changes=len(done.report.changes),
            seconds=round(done.report.seconds, 1),
            packages=done.packages,
            cache=str(CACHE) if done.cache else None,
            others=done.others,
        )
    elif args.dry_run:
        output.would(done.report.changes)
    else:
        tell(cloud, done)
    return 0


def agreed(cloud: Cloud, yes: bool) -> None:
    """Raises `BadAnswers` unless the operator wants it."""
    if not output.confirm(f"Destroy the cloud {cloud.name!r} and all that is in it?", yes):
        raise BadAnswers(
            f"the cloud {cloud.name!r} was not destroyed",
            "its instances, volumes and images would be lost",
            "say so with --yes",
        )


def tell(cloud: Cloud, done: Destroyed) -> None:
    """What was done, and what is left on purpose."""
    output.say(f"The cloud {cloud.name!r} is gone ({done.report.seconds:.1f} s).")
    if done.packages:
        output.say(
            f"Still installed: {', '.join(done.packages)}\n"
            f"(remove them with: apt-get remove --purge {' '.join(done.packages)})"
        )
    if done.cache:
        users = f"used by: {', '.join(done.others)}" if done.others else "as you asked"
        output.say(f"Still there: {CACHE} ({users}).")
