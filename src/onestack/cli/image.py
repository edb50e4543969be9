"""Build the test guest: a small Linux image made of Debian packages only."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from onestack.cli import output
from onestack.model.cloud import CACHE


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    build = what.add_parser(
        "build-test-guest", help="build it", description=__doc__, allow_abbrev=False
    )
    build.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="copy the qcow2 image there too (it is kept in the cache of all clouds)",
    )


def run(args: argparse.Namespace) -> int:
    from onestack.images.guest import build_test_guest, cached_test_guest

    started = time.monotonic()
    image = cached_test_guest(CACHE / "images")
    if args.output:
        build_test_guest(args.output, CACHE / "images")
        image = args.output
    size = image.stat().st_size / (1 << 20)
    output.say(f"{image}  ({size:.1f} MiB, {time.monotonic() - started:.1f} s)")
    output.say("Its user is cirros; a key given at boot is let in by ssh.")
    return 0
