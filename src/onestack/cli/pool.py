"""Show the pool that volumes are kept in, or let it grow; volumes in use are not disturbed."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from onestack.answers import packstack_file
from onestack.answers.values import BadValue, show_size, size
from onestack.cli import lock, output
from onestack.cli.options import KEPT, cloud_of, cloud_options, json_option, need_cloud
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError
from onestack.storage.pool import Pool
from onestack.storage.store import PoolFacts


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    show = what.add_parser("show", help="its size and what of it is used", allow_abbrev=False)
    grow = what.add_parser("grow", help="let it grow", allow_abbrev=False)
    grow.add_argument(
        "size",
        metavar="[+]SIZE|DISK",
        help="to 100G in all, by +10G, or onto an empty disk as /dev/sdb (a volume group)",
    )
    for parser in (show, grow):
        cloud_options(parser)
        json_option(parser)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    need_cloud(cloud)
    if args.what == "grow":
        with lock.changing(cloud, "pool"):
            enlarge(cloud, args.size)
    found = facts_of(cloud)
    if args.json:
        output.as_json(dataclasses.asdict(found))
    else:
        show(found)
        if args.what == "grow":
            output.say("The scheduler knows the new size within a minute.")
    return 0


def enlarge(cloud: Cloud, text: str) -> None:
    """To a size, or onto a disk; the answers say the same afterwards."""
    # Imported late: the verb's options are read without the components.
    from onestack.components.cinder import local

    place, now = local.kept(cloud), facts_of(cloud).size
    if not text.startswith("/"):
        wanted = target(text, now)
        place.grow(wanted)
    elif isinstance(place, Pool):
        raise OnestackError(
            f"the volume pool cannot grow onto {text}",
            "it is one file on the disk of the cloud's root",
            "name a size: onestack pool grow +10G",
        )
    else:
        place.grow_onto(Path(text))
        wanted = facts_of(cloud).size
    keep(cloud, local.SIZE, wanted)


def facts_of(cloud: Cloud) -> PoolFacts:
    from onestack.components.cinder import local

    found = local.kept(cloud).facts()
    assert found is not None
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
