"""One program at a time changes a cloud, and only one that is made for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from onestack.cli import output
from onestack.deploy import patches
from onestack.kernel.locks import attempt, patient
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.release.release import CURRENT

ANY_FORMAT = ("up", "down", "destroy")
"""Verbs that can do with what an older program has kept."""
ANY_RELEASE = ("destroy",)
"""Verbs that have nothing to do with what the cloud is made of."""


class Busy(OnestackError):
    """Another onestack works on this cloud."""


@contextmanager
def changing(cloud: Cloud, verb: str, dry_run: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold ``ROOT/run/up.lock``; the kernel frees it however we end. A dry run holds nothing.

    Yields whether it had to be waited for.

    Raises `Busy`, with the process that holds it, at once, unless we are to ``wait`` for its end;
    `PreflightRefused` where we may not write there; and as `need_fit`.
    """
    need_fit(cloud, verb)
    if dry_run:
        yield False
        return
    descriptor = _opened(cloud, verb)
    try:
        if waited := not attempt(descriptor):
            busy = _busy(cloud, descriptor)
            if not wait:
                raise busy
            output.note(f"note: {busy.what}: waiting until it has ended")
            patient(descriptor)
            _need_still(cloud, verb, descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {verb}\n".encode(), 0)
        yield waited
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _busy(cloud: Cloud, descriptor: int) -> Busy:
    who = os.pread(descriptor, 200, 0).decode(errors="replace").split()
    pid, doing = (who[0], who[1]) if len(who) == 2 else ("?", "up")
    return Busy(
        f"`onestack {doing}` is at work on the cloud {cloud.name!r} (process {pid})",
        "two at once would undo each other's work",
        f"wait until it has ended, or stop it: kill {pid}",
    )


def _need_still(cloud: Cloud, verb: str, descriptor: int) -> None:
    """Raises `PreflightRefused` where what was waited for has made another cloud of it, or none."""
    if not os.fstat(descriptor).st_nlink:
        raise PreflightRefused(
            f"the cloud {cloud.name!r} is not there any more",
            f"it was destroyed while `onestack {verb}` waited",
        )
    need_fit(cloud, verb)


def _opened(cloud: Cloud, verb: str) -> int:
    path = cloud.run / "up.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise PreflightRefused(
            f"`onestack {verb}` must be run by root",
            f"{cloud.root} holds a cloud, and may be changed by nobody else",
            f"sudo ./onestack {verb} …",
        ) from None


def need_fit(cloud: Cloud, verb: str) -> None:
    """Raises `PreflightRefused` where this program must not do ``verb`` to the cloud."""
    patches.need_format(cloud)
    if verb not in ANY_RELEASE:
        patches.need_release(cloud, CURRENT)
    if verb not in ANY_FORMAT:
        patches.need_patched(cloud)


def exists(cloud: Cloud) -> bool:
    """Whether there is anything of the cloud that a second program could disturb."""
    return cloud.run.is_dir() or cloud.record is not None
