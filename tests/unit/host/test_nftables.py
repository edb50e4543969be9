"""Whose packet filter drops what is forwarded."""

from __future__ import annotations

from typing import Any

import pytest

from onestack.host import nftables
from onestack.model.errors import OnestackError


def ruleset(policy: str, *rules: list[dict[str, Any]], family: str = "ip") -> dict[str, Any]:
    place = {"family": family, "table": "filter"}
    chain = {**place, "name": "FORWARD", "hook": "forward", "policy": policy}
    other = {**place, "name": "INPUT", "hook": "input", "policy": "drop"}
    each = [{"rule": {**place, "chain": "FORWARD", "expr": rule}} for rule in rules]
    return {"nftables": [{"metainfo": {}}, {"chain": chain}, {"chain": other}, *each]}


def match(device: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": device}}


DROPS = "FORWARD of the table ip filter"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (ruleset("accept"), []),
        (ruleset("drop"), [DROPS]),
        (ruleset("drop", family="ip6"), []),
        (ruleset("drop", family="inet"), ["FORWARD of the table inet filter"]),
        (ruleset("drop", [match("docker0"), {"accept": None}]), [DROPS]),
        (ruleset("drop", [match("br-ex"), {"counter": {}}, {"accept": None}]), []),
        (ruleset("drop", [match("br-ex"), {"drop": None}]), [DROPS]),
        ({"nftables": []}, []),
    ],
)
def test_chains_that_drop(rules: dict[str, Any], found: list[str]) -> None:
    chains = nftables.closed_chains(rules, "forward")
    assert [chain.name for chain in chains if chain.drops("br-ex")] == found


def test_chains_at_another_hook() -> None:
    rules = ruleset("accept")
    (chain,) = nftables.closed_chains(rules, "input")
    assert chain.name == "INPUT of the table ip filter" and chain.drops("mg-toy")


def test_tables() -> None:
    rules = {
        "nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "a", "handle": 1}}]
    }
    assert nftables.has_table(rules, "a")
    assert not nftables.has_table(rules, "b")
    assert nftables.has_table({"nftables": []}, "b")


def test_where_nobody_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise OnestackError("nft is not there")

    monkeypatch.setattr(nftables, "run", run)
    assert nftables.ruleset() == {"nftables": []}
