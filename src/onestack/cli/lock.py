"""One program at a time changes a cloud."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError


class Busy(OnestackError):
    """Another onestack works on this cloud."""


@contextmanager
def changing(cloud: Cloud, verb: str) -> Iterator[None]:
    """Hold ``ROOT/run/up.lock``; the kernel frees it however we end.

    Raises `Busy`, with the process that holds it, at once.
    """
    path = cloud.run / "up.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 200).decode(errors="replace").split()
            pid, doing = (who[0], who[1]) if len(who) == 2 else ("?", "up")
            raise Busy(
                f"`onestack {doing}` is at work on the cloud {cloud.name!r} (process {pid})",
                "two at once would undo each other's work",
                f"wait until it has ended, or stop it: kill {pid}",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {verb}\n".encode(), 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def exists(cloud: Cloud) -> bool:
    """Whether there is anything of the cloud that a second program could disturb."""
    return cloud.run.is_dir()
