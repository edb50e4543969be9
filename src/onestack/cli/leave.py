"""Take this host out of its cloud, and all that was made for it off the machine."""

from __future__ import annotations

import argparse
import contextlib

from onestack.cli import destroy, lock, output
from onestack.cli.options import cloud_of, cloud_options, json_option, yes_option
from onestack.model.cloud import CACHE
from onestack.model.errors import BadAnswers, OnestackError


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    yes_option(parser)
    json_option(parser)
    parser.add_argument(
        "--without-controller",
        action="store_true",
        help="leave although the controller cannot be told; remove the host there too",
    )
    parser.add_argument(
        "--keep-cache",
        action="store_true",
        help=f"keep {CACHE} (downloads, environments), to join a cloud again with",
    )
    parser.set_defaults(dry_run=False, remove_packages=False)


def run(args: argparse.Namespace) -> int:
    from onestack.deploy.joining import Places, leave

    cloud = cloud_of(args)
    lock.need_fit(cloud, "leave")
    if not Places.of(cloud).folder.exists():
        raise OnestackError(
            "this machine is no host of a cloud that is elsewhere",
            cure="a cloud of its own is taken away by onestack destroy",
        )
    guests = sorted(p.stem for p in (cloud.run / "libvirt" / "qemu").glob("*.pid"))
    if guests and not args.yes:
        raise BadAnswers(
            f"{len(guests)} guests run on this host: {', '.join(guests)}",
            "they would end, and what is on their disks here would be lost",
            "on the controller: onestack host drain, with this host's name, moves them; or say so "
            "with --yes",
        )
    if not output.confirm("Leave the cloud, and lose what this host has of it?", args.yes):
        raise BadAnswers("this host has not left", cure="say so with --yes")
    with contextlib.ExitStack() as stack:
        # Before the controller is told: one that has left is taken down in the same run.
        if lock.exists(cloud):
            stack.enter_context(lock.changing(cloud, "leave"))
        for change in leave(cloud, tell=not args.without_controller):
            change.do()
            output.note(f"done: {change.what}")
        return destroy.take_away(cloud, args)
