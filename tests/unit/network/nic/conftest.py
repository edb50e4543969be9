from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from tests.support.managed import unpacked
from tests.unit.network.nic.wire import Wire, wire


@pytest.fixture
def far() -> Iterator[Wire]:
    with wire() as found:
        yield found


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Nothing of this machine's own network is looked at: as in a namespace of its own."""
    made = Cloud("test", tmp_path / "cloud", None)
    made.etc.mkdir(parents=True)
    return made


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of packages that are not installed; apt's mirror must be reached."""
    return unpacked(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def with_tools(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, found by their names."""
    monkeypatch.setenv("PATH", f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin")
    return tools
