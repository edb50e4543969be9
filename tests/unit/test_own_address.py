"""All that a cloud has of its machine's address comes of one: nothing of a former one is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onestack.deploy.roster import roster_of
from onestack.model.context import Context
from onestack.model.host import Host
from tests.support.machines import machine
from tests.unit.components.upstream import write_upstream
from tests.unit.test_own_name import EVERYTHING, called

FORMER, NOW = "192.0.2.5", "203.0.113.77"


def at(root: Path, address: str, agent: str) -> Context:
    """The whole cloud on a machine that has this address."""
    ctx = called(root, "first", agent, **EVERYTHING)
    devices = {"lo": (), "eth0": (f"{address}/24",)}
    where = dict.fromkeys(("route_address", "public_address", "hostname_address"), address)
    facts = machine(hostname="first", **where, devices=devices, cloud_devices=devices)
    return dataclasses.replace(ctx, host=Host.alone(ctx.cloud, facts, "first"))


@pytest.mark.parametrize("agent", ["openvswitch", "ovn"])
def test_nothing_of_a_former_address_is_left(tmp_path: Path, agent: str) -> None:
    former, now = (at(tmp_path, address, agent) for address in (FORMER, NOW))
    write_upstream(former)
    texts = {}
    for ctx in (former, now):
        ctx.model.evaluate()
        files = {str(file.path): file.content for on in ctx.model for file in on.files}
        texts[ctx.public] = {**files, "roster": roster_of(ctx).to_json()}
    assert any(FORMER in text for text in texts[FORMER].values())
    left = [name for name, text in texts[NOW].items() if FORMER in text]
    assert left == []
    moved = {name: text.replace(FORMER, NOW) for name, text in texts[FORMER].items()}
    assert [name for name in moved if moved[name] != texts[NOW][name]] == []
