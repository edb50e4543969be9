"""What tests of several rooms begin from."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from onestack.release.release import Release, release


@pytest.fixture(scope="session")
def installed() -> Release:
    """The release, its services' environment installed (needs root)."""
    found = release()
    for change in found.services.ensure():
        change.do()
    return found


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Started in the background, or by nohup, we and all that we start would not hear these."""
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    lost = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGHUP, lost)
