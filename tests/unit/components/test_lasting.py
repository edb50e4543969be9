"""Passing states that last: which are named, and with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.components import lasting
from onestack.components.cinder import Cinder
from onestack.components.cinder import passing as of_cinder
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.nova import Nova
from onestack.components.nova import passing as of_nova
from onestack.components.trove import passing as of_trove
from onestack.database.passing import Passing
from onestack.database.upstream_tables.trove import TASKS
from onestack.model.component import Component
from tests.support.needs import needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import context

TRIALS = Path(__file__).with_name("lasting_trials.py")


def ended(thing: Passing) -> str:
    return f"openstack volume set --state error {thing.identity}"


def named(*things: Passing) -> list[str]:
    return [f.what for f in lasting.findings(things, frozenset({"downloading"}), ended)]


def volume(state: str, since: int, name: str = "v") -> Passing:
    return Passing("volume", f"id-{name}", name, state, since)


def test_what_may_take_its_time() -> None:
    assert named(volume("deleting", 500), volume("downloading", 3000)) == []
    assert named(volume("deleting", 700)) == ["volume v is deleting for 11 min"]
    assert named(volume("downloading", 8000)) == ["volume v is downloading for 2 h"]


def test_many_are_one_finding() -> None:
    things = [volume("deleting", 700 + n, f"v{n}") for n in range(5)]
    assert named(*things) == ["volume v4, v3, v2 and 2 more are deleting for 11 min"]
    (finding,) = lasting.findings(things, frozenset(), ended)
    assert finding.cure == "openstack volume set --state error id-v4"
    assert named(volume("deleting", 700, "")) == ["volume id- is deleting for 11 min"]


def cinder(kind: str, state: str) -> str:
    return of_cinder.cure(Passing(kind, "id", "name", state, 9999))


def nova(state: str) -> str:
    return of_nova.cure(Passing("server", "id", "name", state, 9999), Path("/disks"))


@pytest.mark.parametrize("kind", ["volume", "volume snapshot", "volume backup"])
def test_what_has_no_content_may_be_deleted(kind: str) -> None:
    for state in ("creating", "deleting"):
        said = cinder(kind, state)
        assert said.endswith(f"openstack {kind} set --state error id, then delete it")


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (
            "volume",
            "attaching backing-up detaching extending managing restoring-backup retyping"
            " reverting uploading",
        ),
        ("volume snapshot", "backing-up restoring unmanaging updating"),
        ("volume backup", "restoring"),
    ],
)
def test_what_has_content_is_not_deleted(kind: str, states: str) -> None:
    for state in states.split():
        said = cinder(kind, state)
        assert "delete" not in said and "--state error" not in said
        assert f"openstack {kind} set --state available id" in said
        assert ("--state in-use id" in said) == (kind == "volume")


def test_only_what_a_start_settles_is_promised_so() -> None:
    for state in ("creating", "deleting", "downloading", "uploading", "backing-up"):
        assert "restart cinder" in cinder("volume", state)
    for state in ("attaching", "detaching", "extending", "retyping"):
        assert "restart" not in cinder("volume", state)


def test_servers() -> None:
    for state in ("building", "spawning", "deleting"):
        assert nova(state).endswith("set --state error id, then delete it")
    for state in ("image_uploading", "powering-off", "reboot_started", "rebuilding", "migrating"):
        assert "delete" not in nova(state) and "error" not in nova(state)
        assert "openstack server set --state active id" in nova(state)
    # A hard reboot makes a disk that is not there.
    assert "copy its disks first (/disks/id*)" in nova("resize_migrating")
    # It has no host to be started at, and its image goes with it.
    assert "active" not in nova("unshelving") and "name-shelved" in nova("unshelving")


def test_databases() -> None:
    instance = of_trove.cure(Passing("database instance", "id", "n", "RESIZING", 9999))
    assert instance.endswith("openstack database instance reset status id")
    backup = of_trove.cure(Passing("database backup", "id", "n", "SAVING", 9999))
    assert "openstack database backup show id" in backup


@pytest.mark.parametrize(
    ("room", "kind", "state", "cure"),
    [
        (Cinder(), "volume", "detaching", "openstack volume set --state in-use id"),
        (Glance(), "image", "importing", "openstack image delete id"),
        (Heat(), "stack", "DELETE_IN_PROGRESS", "openstack stack delete id"),
        (Heat(), "stack", "CREATE_IN_PROGRESS", "openstack stack cancel id"),
        (Nova(), "server", "resize_migrating", "data/nova/instances/id*"),
    ],
)
def test_rooms_ask_their_tables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: Component,
    kind: str,
    state: str,
    cure: str,
) -> None:
    thing = Passing(kind, "id", "name", state, 3 * 3600)
    monkeypatch.setattr("onestack.database.server.server_of", lambda ctx: None)
    tables = f"onestack.database.upstream_tables.{room.name}"
    monkeypatch.setattr(f"{tables}.in_passing", lambda server: [thing])
    (finding,) = room.health_checks(context(tmp_path, room))
    assert finding.what == f"{kind} name is {state} for 3 h"
    assert cure in finding.cure


@needs_services
def test_upstreams_states_are_these() -> None:
    told = tried(TRIALS, "states").stdout.split()
    assert set(told) == {f"{number}={name}" for number, name in TASKS.items()}
