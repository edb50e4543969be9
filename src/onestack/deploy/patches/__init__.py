"""Brings what is kept of a cloud from the format of an older program to today's.

One number, in ``ROOT/etc/cloud.json``, stands for all that is kept below the root and read
again by a later run: ledger, secrets, answers, records of pools and loop files, rings, what
was provisioned, the roster. Whoever changes how one of these is written adds a patch here,
as the last, and raises `onestack.model.cloud.FORMAT`. A patch that is there is never changed:
some cloud still waits for it.

Patches are applied in order under the cloud's lock, before anything of the state is read. Each
may be killed and is done again by the next run, since the new number is written after it.
A patch reads and writes files itself: the program's own readers know today's format only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.deploy.patches import p0001_what_the_cloud_is
from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.cloud import FORMAT, Cloud, record_path
from onestack.model.errors import PreflightRefused


@dataclass(frozen=True)
class Patch:
    """``apply`` is given the cloud's root; ``what`` it does is for people."""

    what: str
    apply: Callable[[Path], None]


PATCHES = (
    Patch("its release and its host's name are written down", p0001_what_the_cloud_is.apply),
)
"""The first brings format 0 to 1, and so on."""


def need_format(cloud: Cloud) -> None:
    """Raises `PreflightRefused` where a newer program has written what is kept."""
    record = cloud.record
    if record and record.format > FORMAT:
        raise PreflightRefused(
            f"the cloud {cloud.name!r} is kept by a newer onestack",
            f"what lies in {cloud.root} has format {record.format}, this program knows {FORMAT}",
            "use the onestack that last brought it up, or a later one",
        )


def need_patched(cloud: Cloud) -> None:
    """Raises `PreflightRefused` where an older program has written it, and no `up` came since."""
    record = cloud.record
    if record and record.format < FORMAT:
        raise PreflightRefused(
            f"the cloud {cloud.name!r} is kept by an older onestack",
            f"what lies in {cloud.root} has format {record.format}, this program's is {FORMAT}",
            "run onestack up, which brings it to today's",
        )


def need_release(cloud: Cloud, release: str) -> None:
    """Raises `PreflightRefused` where the cloud is of another OpenStack than ``release``."""
    record = cloud.record
    if record and record.release != release:
        raise PreflightRefused(
            f"the cloud {cloud.name!r} is OpenStack {record.release}, "
            f"and this onestack is for OpenStack {release}",
            "another release would change its databases for good, without a way back",
            f"use the onestack for {record.release}; or take the cloud off the machine, with all "
            "that is in it, and make it anew: onestack destroy, then onestack up",
        )


def ensure_format(cloud: Cloud) -> Iterator[Change]:
    """What is kept is of today's format; the caller holds the cloud's lock."""
    record = cloud.record
    for number in range(record.format, FORMAT) if record else ():
        patch = PATCHES[number]
        what = f"bring what is kept of the cloud to format {number + 1}: {patch.what}"
        yield Change(what, functools.partial(_apply, patch, cloud.root, number + 1))


def _apply(patch: Patch, root: Path, number: int) -> None:
    patch.apply(root)
    path = record_path(root)
    raw = json.loads(path.read_text())
    raw.pop("format", None)
    write_file(path, json.dumps({"format": number, **raw}, indent=1) + "\n")
