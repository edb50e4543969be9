"""Programs that services start themselves: an AppArmor profile for one is in their way."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.database.places import data_directory
from onestack.diagnose import preflight
from tests.unit.test_own_name import called

MINE = ("haproxy", "mariadbd", "qemu-img")


@pytest.mark.parametrize(
    ("agent", "given", "expected"),
    [
        ("ovn", {}, MINE),
        ("openvswitch", {}, ("dnsmasq", *MINE, "radvd")),
        ("ovn", {"CONFIG_NEUTRON_INSTALL": "n"}, ("mariadbd", "qemu-img")),
    ],
)
def test_what_is_started_in_a_cloud(
    tmp_path: Path, agent: str, given: dict[str, str], expected: tuple[str, ...]
) -> None:
    ctx = called(tmp_path, "first", agent, **given)
    assert tuple(preflight.needs_of(ctx).started) == expected
    # once it has its contents, the server is the supervisor's alone
    data_directory(ctx.cloud).mkdir(parents=True)
    later = called(tmp_path, "first", agent, **given)
    assert "mariadbd" not in preflight.needs_of(later).started
