"""The administrator's session."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.cloudapi.session import admin_session
from tests.unit.components.rooms import context


def test_no_proxy_stands_between_us_and_the_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    session = admin_session(context(tmp_path)).session
    settings = session.merge_environment_settings("http://127.77.0.1:5000", {}, False, True, None)
    assert not settings["proxies"]
