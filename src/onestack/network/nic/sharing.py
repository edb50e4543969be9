"""Several clouds of one machine by one NIC: one works on it at a time, the last gives it back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onestack.host import clouds
from onestack.host.ledger import Ledger
from onestack.host.locks import locked
from onestack.kernel.locks import attempt
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic.journal import TRYING, Journal

PLACE = Path("/run")
"""Of locks: only root may write there."""
PAIR = "nic pair"
"""Of entries in the ledger: devices between a bridge of the machine's and a cloud's."""


class BeingMoved(OnestackError):
    """Somebody else works on the NIC."""


@contextmanager
def alone(nic: str) -> Iterator[None]:
    """No other onestack moves ``nic``, of the calling thread's network. Raises `BeingMoved`.

    The kernel frees it however we end.
    """
    path = _lock(nic)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Whoever has just ended took the file away: then we hold what nobody else sees.
        if not attempt(descriptor) or not _is(path, descriptor):
            raise BeingMoved(
                f"another onestack works on {nic}",
                "two at once would undo each other's work",
                "wait until it has ended, then run the same command again",
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def busy(nic: str) -> bool:
    """Whether somebody works on it now."""
    return locked(_lock(nic))


def need_settled(cloud: Cloud, nic: str) -> None:
    """Raises `OnestackError` where another cloud has begun something with ``nic``."""
    for other in _others(cloud, clouds.others(cloud)):
        found = Journal.of(other, nic).read()
        if found and found.state == TRYING:
            raise OnestackError(
                f"a move of {nic} was begun for the cloud {other.name!r}, and nobody has kept it",
                f"what {nic} has is put back first",
                f"onestack up --name {other.name} --root {other.root}",
            )


def heir(cloud: Cloud, ports: Iterable[str]) -> Cloud | None:
    """Another cloud that stays, and whose wire is one of these ports of a bridge."""
    there = set(ports)
    for other in _others(cloud, clouds.staying(cloud)):
        with contextlib.suppress(OnestackError):
            entries = Ledger.of(other).entries()
            if any(entry.kind == PAIR and entry.data["outer"] in there for entry in entries):
                return other
    return None


def _others(cloud: Cloud, known: dict[str, Path]) -> Iterator[Cloud]:
    """Those that see the same NICs: a namespace has only one cloud."""
    if cloud.netns:
        return
    for name, root in known.items():
        with contextlib.suppress(OnestackError, OSError):
            if (record := Cloud(name, root).record) and not record.netns:
                yield Cloud(name, root)


def _lock(nic: str) -> Path:
    network = os.stat("/proc/thread-self/ns/net").st_ino
    return PLACE / f"onestack-{nic}-{network}.lock"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
