"""Build the images of guests that are made here: from Debian packages, and the release."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from onestack.cli import output
from onestack.components import ALL
from onestack.host.command import CommandFailed
from onestack.host.files import explain
from onestack.host.full_disk import full_disk_told
from onestack.model.cloud import CACHE
from onestack.model.declarations import GuestImage
from onestack.model.errors import OnestackError

BUILD = "build-"


def guest_images() -> Mapping[str, GuestImage]:
    """All that rooms declare, by name; also of those that are off."""
    return {image.name: image for room in ALL for image in room.guest_images}


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser("list", help="what can be built, and what is", allow_abbrev=False)
    for image in guest_images().values():
        told = f"build {image.title}"
        build = what.add_parser(
            f"{BUILD}{image.name}", help=told, description=f"{told}.", allow_abbrev=False
        )
        build.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="copy the qcow2 image there too (it is kept in the cache of all clouds)",
        )


def run(args: argparse.Namespace) -> int:
    cache = CACHE / "images"
    if args.what == "list":
        for image in guest_images().values():
            place = image.image(cache)
            state = (
                _size(place) if place.exists() else f"not built: onestack image build-{image.name}"
            )
            output.say(f"{image.name:<16} {image.title}: {state}")
        return 0
    image = guest_images()[args.what.removeprefix(BUILD)]
    started = time.monotonic()
    made = _built(image, cache)
    if args.output and args.output.absolute() != made.absolute():
        _copy(made, args.output)
        made = args.output
    output.say(f"{made}  ({_size(made)}, {time.monotonic() - started:.1f} s)")
    return 0


def _built(image: GuestImage, cache: Path) -> Path:
    """Raises `OnestackError`: which one it was, before which program failed."""
    failed = f"{image.title} cannot be built"
    try:
        with full_disk_told(failed, cache):
            return image.build(cache, output.note)
    except CommandFailed as error:
        cure = error.cure or "run the same command again"
        raise OnestackError(failed, f"{error.what}: {error.why}", cure) from error


def _size(place: Path) -> str:
    return f"{place.stat().st_size / (1 << 20):.1f} MiB"


def _copy(source: Path, destination: Path) -> None:
    """Whole, or not at all. Raises `OnestackError`."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{destination.name}-", dir=destination.parent)
        try:
            with os.fdopen(handle, "wb") as target, source.open("rb") as origin:
                shutil.copyfileobj(origin, target, 1 << 20)
                os.fchmod(target.fileno(), 0o644)
                target.flush()
                os.fsync(target.fileno())
            os.rename(name, destination)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise explain(f"{destination} cannot be written", destination, error) from error
