"""Hosts of a test have places of their own: what one removes the other still has."""

from __future__ import annotations

from pathlib import Path

from tests.support.hosts import hosts
from tests.support.needs import needs_root

pytestmark = needs_root


def test_what_a_host_writes_is_its_own(tmp_path: Path) -> None:
    root = tmp_path / "root" / "cloud"
    with hosts(tmp_path, root) as made:
        one, two = made.host("one"), made.host("two")
        for place in ("/etc", "/var/lib", "/var/log", "/var/cache"):
            mine = f"{place}/onestack-test-apart"
            one.run("mkdir", mine)
            two.run("mkdir", mine)
            two.run("touch", f"{mine}/used")
            one.run("rmdir", mine)
            two.run("test", "-e", f"{mine}/used")
            assert not Path(mine).exists()
