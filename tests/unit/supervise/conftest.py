"""The bench for every test of the supervisor."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.supervise.bench import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    # short, for the sockets' sake, and open to other users
    root = Path(tempfile.mkdtemp(prefix="toys-"))
    root.chmod(0o755)
    bench = Bench(root)
    bench.hurry()
    yield bench
    bench.end()
