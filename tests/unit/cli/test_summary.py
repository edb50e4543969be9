"""What is said when a cloud is up."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.components import public
from onestack.components.horizon import Horizon
from onestack.components.keystone import Keystone
from tests.unit.components import rooms


@pytest.mark.parametrize(("ssl", "scheme"), [("y", "https"), ("n", "http")])
def test_pages_for_people(tmp_path: Path, ssl: str, scheme: str) -> None:
    """The dashboard, at the address that leads to it; not what only redirects there."""
    ctx = rooms.context(
        tmp_path, Keystone(), Horizon(), CONFIG_HORIZON_INSTALL="y", CONFIG_HORIZON_SSL=ssl
    )
    assert public.pages(ctx) == {"Dashboard": f"{scheme}://{ctx.public}/dashboard/"}
    assert public.endpoints(ctx) == {"identity": f"https://{ctx.public}:5000/v3"}
