"""What tests of several rooms begin from."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from onestack.release.release import Release, release
from tests.support.door import OpenDoor, open_door


@pytest.fixture(scope="session")
def installed() -> Release:
    """The release, its services' environment installed (needs root)."""
    found = release()
    for change in found.services.ensure():
        change.do()
    return found


@pytest.fixture(scope="module")
def shared_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A cloud's door, with what an earlier test of the file has left in it."""
    with open_door(tmp_path_factory.mktemp("door")) as made:
        yield made


@pytest.fixture
def door(shared_door: OpenDoor) -> OpenDoor:
    """The same for all of a file, and empty for each."""
    shared_door.hosts.path.unlink(missing_ok=True)
    shutil.rmtree(shared_door.app.reports.folder, ignore_errors=True)
    for left in shared_door.app.spool.folder.iterdir():
        left.unlink()
    shared_door.calls.clear()
    return shared_door


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Started in the background, or by nohup, we and all that we start would not hear these."""
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    lost = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGHUP, lost)
