"""memcached's room: on the cloud's own loopback address, and small."""

from __future__ import annotations

from pathlib import Path

from onestack.components.memcached import Memcached
from tests.unit.components.rooms import context


def test_two_clouds_have_two(tmp_path: Path) -> None:
    listening = set()
    for name in ("onestack", "a"):
        ctx = context(tmp_path, name=name)
        (process,) = Memcached().processes(ctx)
        words = process.argv
        assert process.user == ctx.cloud.user("memcached")
        assert words[words.index("-l") + 1] == ctx.internal
        assert words[words.index("-U") + 1] == "0"
        listening.add(ctx.internal)
    assert len(listening) == 2
