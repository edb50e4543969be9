"""What clusters leave when sahara is gone for good, and heat with it: all goes, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from keystoneauth1.exceptions import BadRequest, NotFound

from onestack.cloudapi import compute, neutron
from onestack.components.cinder import Cinder
from onestack.components.heat import Heat
from onestack.components.mariadb import Mariadb
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.sahara import Sahara, leftovers
from onestack.components.sahara.leftovers import (
    ADDRESS,
    GROUP,
    PORT,
    SERVER,
    SERVER_GROUP,
    VOLUME,
    Held,
)
from onestack.database.upstream_tables import heat
from onestack.deploy import switched_off
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from tests.support.needs import needs_sahara, needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import context
from tests.unit.components.test_sahara_upstream import trial

TRIALS = Path(__file__).with_name("heat_trials.py")
KNOWN: Held = {
    SERVER: {"s1", "s2"},
    SERVER_GROUP: {"a1"},
    PORT: {"p1", "p2"},
    ADDRESS: {"f1"},
    GROUP: {"g1", "g2"},
    VOLUME: {"v1", "v2"},
    "OS::Cinder::VolumeAttachment": {"v1"},
    "OS::Heat::ResourceGroup": {"n1"},
}
COLLECTIONS = {
    "servers": SERVER,
    "os-server-groups": SERVER_GROUP,
    "ports": PORT,
    "floatingips": ADDRESS,
    "security-groups": GROUP,
    "volumes": VOLUME,
}
Item = dict[str, Any]


class World:
    """Nova, neutron and cinder, in which there are these, each in use by another as theirs are,
    and as much of somebody's own. Answers as they do, refusals too."""

    def __init__(self, held: Held) -> None:
        self.there: dict[str, dict[str, Item]] = {kind: {} for kind in COLLECTIONS.values()}
        for whose in ("", "of-a-person-"):
            self.fill({kind: [f"{whose}{i}" for i in sorted(ids)] for kind, ids in held.items()})
        for group in held[GROUP]:
            self.there[GROUP][group]["description"] = f"{leftovers.MARK}\nSahara cluster"
        self.asked: list[str] = []

    def fill(self, ids: dict[str, list[str]]) -> None:
        servers, groups = ids[SERVER], ids[GROUP]
        for kind in COLLECTIONS.values():
            for number, identity in enumerate(ids[kind]):
                server = servers[number % len(servers)]
                self.there[kind][identity] = {
                    "id": identity,
                    "name": f"words-w-{number}-port",
                    "project_id": "p",
                    "description": None if kind != GROUP else "mine",
                    "device_id": server,
                    "device_owner": "compute:nova",
                    "security_groups": [groups[number % len(groups)]],
                    "floating_ip_address": f"192.0.2.{number}",
                    "port_id": ids[PORT][number % len(ids[PORT])],
                    "attachments": [{"server_id": server}],
                }

    def left(self) -> set[str]:
        """Of the clusters'."""
        every = {identity for items in self.there.values() for identity in items}
        return {identity for identity in every if not identity.startswith("of-a-person")}

    def persons(self) -> int:
        return sum(len(items) for items in self.there.values()) - len(self.left())

    # As a session has it.

    def get_project_id(self) -> str:
        return "admin"

    def get(self, url: str, **_: Any) -> Any:
        last, before = url.rpartition("/")[2], url.split("/")[-2]
        if before in COLLECTIONS:
            found = self.there[COLLECTIONS[before]].get(last)
            if found is None:
                raise NotFound(url)
            return SimpleNamespace(json=lambda: {before[:-1]: found})
        items = list(self.there[COLLECTIONS[last]].values()) if last in COLLECTIONS else []
        name = last.removeprefix("os-").replace("-", "_")
        return SimpleNamespace(json=lambda: {name: items})

    def post(self, url: str, json: Any) -> None:
        volume = self.there[VOLUME][url.split("/")[-2]]
        assert json["os-reset_status"]["attach_status"] == "detached"
        volume["attachments"] = []

    def delete(self, url: str, **_: Any) -> None:
        kind, identity = COLLECTIONS[url.split("/")[-2]], url.rpartition("/")[2]
        self.asked.append(identity)
        if identity not in self.there[kind]:
            raise NotFound(url)
        if kind == VOLUME and self.there[VOLUME][identity]["attachments"]:
            raise BadRequest("it is attached")
        del self.there[kind][identity]
        if kind == SERVER:
            for port in self.there[PORT].values():
                port["device_id"] = "" if port["device_id"] == identity else port["device_id"]
            for volume in self.there[VOLUME].values():
                volume["attachments"] = [
                    each for each in volume["attachments"] if each["server_id"] != identity
                ]

    def request(self, url: str, method: str, **_: Any) -> Any:
        kind, identity = COLLECTIONS[url.split("/")[-2]], url.rpartition("/")[2]
        assert method == "DELETE"
        if kind == GROUP and any(
            identity in port["security_groups"] for port in self.there[PORT].values()
        ):
            return SimpleNamespace(status_code=409, text="SecurityGroupInUse")
        there = self.there[kind].pop(identity, None)
        return SimpleNamespace(status_code=204 if there else 404, text="")


class Tables:
    """The database server, with sahara's and heat's."""

    def exists(self, database: str) -> bool:
        return True

    def tables(self, database: str) -> set[str]:
        return set(heat.TABLES)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context(tmp_path, Mariadb(), Nova(), Neutron(), Cinder())


def purge(
    ctx: Context,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    held: Held = KNOWN,
    others: tuple[str, ...] = (),
) -> Iterator[Change]:
    stacks = [heat.StackRow(name, name, "CREATE COMPLETE") for name in others]
    for module in (leftovers, compute, neutron):
        monkeypatch.setattr(module, "admin_session", lambda ctx: world)
    monkeypatch.setattr(leftovers, "server_of", lambda ctx: Tables())
    monkeypatch.setattr(heat, "held", lambda server, tag: held)
    monkeypatch.setattr(heat, "untagged", lambda server, tag: stacks)
    return leftovers.remove(ctx)


def test_all_goes_and_nobody_elses(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sahara's own tables have no machine yet: one of these was being made."""
    world = World(KNOWN)
    before = world.persons()
    for change in purge(ctx, world, monkeypatch):
        change.do()
    assert world.left() == set() and world.persons() == before
    assert list(purge(ctx, world, monkeypatch)) == []


def test_cut_short_anywhere_another_run_ends_it(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for done in range(len(list(purge(ctx, World(KNOWN), monkeypatch)))):
        world = World(KNOWN)
        for early in islice(purge(ctx, world, monkeypatch), done):
            early.do()
        assert world.left()
        for late in purge(ctx, world, monkeypatch):
            late.do()
        assert world.left() == set(), done


def test_nothing_is_told_twice(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run does nothing between one change and the next."""
    told = [change.what for change in purge(ctx, World(KNOWN), monkeypatch)]
    assert len(told) == len(set(told))


def test_what_heat_did_not_hear_of_goes_too(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat was ended while nova and neutron made the second server, and a third port."""
    world = World(KNOWN | {PORT: {"p1", "p2", "p3"}})
    world.there[PORT]["p3"]["device_id"] = ""
    heard = KNOWN | {SERVER: {"s1"}}
    for change in purge(ctx, world, monkeypatch, heard):
        change.do()
    assert world.left() == set()


def test_what_people_use_themselves_is_told(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(KNOWN)
    world.there[PORT]["of-a-person-p1"]["security_groups"] = ["g1"]
    with pytest.raises(OnestackError) as refused:
        for change in purge(ctx, world, monkeypatch):
            change.do()
    assert "of-a-person-p1" in refused.value.why and "g1" in refused.value.cure
    world.there[PORT]["of-a-person-p1"]["security_groups"] = []
    world.there[VOLUME]["v9"] = world.there[VOLUME]["of-a-person-v1"]
    with pytest.raises(OnestackError) as refused:
        for change in purge(ctx, world, monkeypatch, {VOLUME: {"v9"}}):
            change.do()
    assert "of-a-person-s1" in refused.value.why


def test_volumes_of_servers_that_are_gone_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova was taken off too: nobody detaches them."""
    world = World(KNOWN)
    for change in purge(context(tmp_path, Mariadb(), Cinder()), world, monkeypatch):
        change.do()
    assert not world.there[VOLUME].keys() & KNOWN[VOLUME]


def test_with_heat_what_stacks_take_along_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(tmp_path, Mariadb(), Nova(), Neutron(), Cinder(), Heat(), CONFIG_HEAT_INSTALL="y")
    world = World(KNOWN)
    stacks = [heat.StackRow("1", "words", "CREATE COMPLETE")]
    monkeypatch.setattr(heat, "tagged", lambda server, tag: stacks)
    changes = list(purge(ctx, world, monkeypatch, others=("mine",)))
    assert [change.what for change in changes] == ["remove 1 clusters with all that they have"]


def test_heat_is_not_taken_from_others(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was on for sahara alone, and people have used it."""
    world = World(KNOWN)
    with pytest.raises(OnestackError) as refused:
        next(purge(ctx, world, monkeypatch, others=("mine", "yours")))
    assert "mine, yours" in refused.value.why and "CONFIG_HEAT_INSTALL=y" in refused.value.cure
    assert world.asked == []


def test_once_sahara_is_gone_heat_is_its_owners(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched off by its own key, after a purge of sahara's that kept it."""
    monkeypatch.setattr(Tables, "exists", lambda self, database: False)
    assert list(purge(ctx, World(KNOWN), monkeypatch, others=("mine",)))


def test_heat_is_purged_after_sahara(tmp_path: Path) -> None:
    """It knows what clusters have."""
    off: tuple[Component, ...] = (Heat(), Sahara())
    ctx = context(tmp_path, Mariadb(), Nova())
    steps = {step.name: step for step in switched_off.purge_steps(ctx, cast(Any, Tables()), ())}
    assert {f"purge:{each.name}" for each in off} <= steps.keys()
    assert "purge:sahara" in steps["purge:heat"].needs
    assert "purge:heat" not in steps["purge:sahara"].needs


@needs_sahara
@needs_services
def test_what_a_cluster_has_is_in_heats_tables(
    tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sahara's own templates, in heat's own engine: with anti-affinity, volumes, floating IPs."""
    (tmp_path / "stack.json").write_text(json.dumps(trial("stack", tmp_path)))
    done = tried(TRIALS, "held", tmp_path, timeout=180)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tagged"] == ["cluster"] and found["untagged"] == ["other"]
    made: Held = {}
    for kind, identity in found["made"]["cluster"]:
        made.setdefault(kind, set()).add(identity)
    held = {kind: set(ids) for kind, ids in found["held"].items()}
    assert {kind: held[kind] for kind in made} == made
    # Of what is made elsewhere, nothing is unknown to the purge.
    assert made.keys() == {*COLLECTIONS.values(), "OS::Cinder::VolumeAttachment"}
    world = World(made)
    for change in purge(ctx, world, monkeypatch, held):
        change.do()
    assert world.left() == set()
