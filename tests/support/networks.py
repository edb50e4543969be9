"""A network of a test's own, for programs that change the one they run in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onestack.host import netns
from onestack.kernel.namespaces import unshare

CLONE_NEWNET = 0x40000000


@contextmanager
def alone() -> Iterator[None]:
    """This thread in a network namespace without anything; needs root."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        unshare(CLONE_NEWNET)
        yield
    finally:
        netns._setns(here)
        os.close(here)


def soon(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 8
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
