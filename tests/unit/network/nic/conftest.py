from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.managed import unpacked


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of packages that are not installed; apt's mirror must be reached."""
    return unpacked(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def with_tools(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, found by their names."""
    monkeypatch.setenv("PATH", f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin")
    return tools
