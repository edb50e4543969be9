"""Passing states that last: which are named, and with what to do."""

from __future__ import annotations

from onestack.components import lasting
from onestack.database.passing import Passing

CURES = {"volume": "openstack volume set --state error {id}"}


def named(*things: Passing) -> list[str]:
    return [f.what for f in lasting.findings(things, frozenset({"downloading"}), CURES)]


def volume(state: str, since: int, name: str = "v") -> Passing:
    return Passing("volume", f"id-{name}", name, state, since)


def test_what_may_take_its_time() -> None:
    assert named(volume("deleting", 500), volume("downloading", 3000)) == []
    assert named(volume("deleting", 700)) == ["volume v is deleting for 11 min"]
    assert named(volume("downloading", 8000)) == ["volume v is downloading for 2 h"]


def test_many_are_one_finding() -> None:
    things = [volume("deleting", 700 + n, f"v{n}") for n in range(5)]
    assert named(*things) == ["volume v4, v3, v2 and 2 more are deleting for 11 min"]
    (finding,) = lasting.findings(things, frozenset(), CURES)
    assert finding.cure == "openstack volume set --state error id-v4"
    assert named(volume("deleting", 700, "")) == ["volume id- is deleting for 11 min"]
