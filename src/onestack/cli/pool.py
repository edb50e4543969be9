"""Show the pool that volumes are kept in, or let it grow; volumes in use are not disturbed."""

from __future__ import annotations

import argparse
import dataclasses

from onestack.answers import packstack_file
from onestack.answers.values import BadValue, show_size, size
from onestack.cli import lock, output
from onestack.cli.options import KEPT, cloud_of, cloud_options, json_option, need_cloud
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError
from onestack.storage.pool import Pool, PoolFacts


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    show = what.add_parser("show", help="its size and what of it is used", allow_abbrev=False)
    grow = what.add_parser("grow", help="let it grow", allow_abbrev=False)
    grow.add_argument("size", metavar="[+]SIZE", help="to 100G in all, or by +10G")
    for parser in (show, grow):
        cloud_options(parser)
        json_option(parser)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    need_cloud(cloud)
    if args.what == "grow":
        with lock.changing(cloud, "pool"):
            # Imported late: the verb's options are read without the components.
            from onestack.components.cinder import SIZE, volume_pool

            wanted = target(args.size, facts_of(cloud).size)
            volume_pool(cloud).grow(wanted)
            keep(cloud, SIZE, wanted)
    found = facts_of(cloud)
    if args.json:
        output.as_json(dataclasses.asdict(found))
    else:
        show(found)
        if args.what == "grow":
            output.say("The scheduler knows the new size within a minute.")
    return 0


def facts_of(cloud: Cloud) -> PoolFacts:
    found = Pool.at(cloud.root).facts()
    if found is None:
        raise OnestackError(
            f"the cloud {cloud.name!r} has no volume pool",
            "it is made by `onestack up` when CONFIG_CINDER_INSTALL=y",
        )
    return found


def target(text: str, now: int) -> int:
    """``+10G`` or ``100G`` -> bytes in all. Raises `BadAnswers`."""
    try:
        wanted = size(text.removeprefix("+"))
    except BadValue as wrong:
        raise BadAnswers(
            f"{text!r} is not a size",
            str(wrong),
            "onestack pool grow +10G, or to 100G in all: 100G",
        ) from None
    return now + wanted if text.startswith("+") else wanted


def keep(cloud: Cloud, key: str, wanted: int) -> None:
    """The answers that the next ``up`` begins from say the same."""
    path = cloud.etc / KEPT
    if path.exists():
        text = packstack_file.read(path).updated(
            {key: show_size(wanted)}, lambda name: f"{name}={show_size(wanted)}"
        )
        packstack_file.save(path, text)


def show(found: PoolFacts) -> None:
    output.table(
        ("WHAT", "VALUE"),
        [
            ("size", gib(found.size)),
            (
                "given out",
                f"{gib(found.provisioned)} ({found.volumes} volumes, "
                f"{found.snapshots} snapshots, each with its full size)",
            ),
            ("free", gib(found.free)),
            ("on disk", gib(found.stored)),
            ("kind", found.kind),
            ("place", found.place),
            ("device", found.device or "-"),
        ],
    )


def gib(count: int) -> str:
    """For people: ``20G``, ``1.3G``."""
    exact = show_size(count)
    return exact if len(exact) <= 5 else f"{count / (1 << 30):.1f}G"
