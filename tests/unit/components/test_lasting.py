"""Passing states that last: which are named, and with what to do."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from onestack.components import lasting
from onestack.components.cinder import Cinder
from onestack.components.cinder import passing as of_cinder
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.heat import passing as of_heat
from onestack.components.nova import Nova
from onestack.components.nova import passing as of_nova
from onestack.components.trove import passing as of_trove
from onestack.database.passing import Passing
from onestack.database.upstream_tables.trove import TASKS
from onestack.model.component import Component
from tests.support.needs import needs_services, services_python
from tests.support.trials import tried
from tests.unit.components.rooms import context

TRIALS = Path(__file__).with_name("lasting_trials.py")
PARSERS = Path(__file__).parents[1] / "pages_trials.py"
STATES = {
    "volume": (
        *("attaching", "backing-up", "creating", "deleting", "detaching", "downloading"),
        *("extending", "managing", "restoring-backup", "retyping", "reverting", "uploading"),
        "unmanaging",
    ),
    "volume snapshot": ("backing-up", "creating", "deleting", "restoring", "unmanaging"),
    "volume backup": ("creating", "deleting", "restoring"),
}
ACTIONS = (
    *("ADOPT", "CHECK", "CREATE", "DELETE", "RESTORE", "RESUME", "ROLLBACK", "SNAPSHOT"),
    *("SUSPEND", "UPDATE"),
)


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


def heat(action: str) -> str:
    return of_heat.cure(Passing("stack", "id", "name", f"{action}_IN_PROGRESS", 9999), "manage")


def trove(kind: str) -> str:
    return of_trove.cure(Passing(kind, "id", "name", "SAVING", 9999))


@pytest.mark.parametrize("kind", ["volume", "volume snapshot"])
def test_what_has_no_content_may_be_deleted(kind: str) -> None:
    for state in ("creating", "deleting"):
        said = cinder(kind, state)
        assert said.endswith(f"openstack {kind} set --state error id, then delete it")


def test_a_backup_that_nobody_has_begun_is_deleted_as_it_is() -> None:
    for state in ("creating", "deleting"):
        said = cinder("volume backup", state)
        assert said.endswith("; else openstack volume backup delete --force id")


def test_a_volume_on_its_way_to_a_server() -> None:
    """In use it could not be taken away again unless it is attached, and it is noted by then."""
    said = cinder("volume", "attaching")
    assert "openstack volume set --attached --state in-use id" in said
    assert said.endswith("openstack volume set --detached --state available id")


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (
            "volume",
            "backing-up detaching extending restoring-backup retyping reverting uploading",
        ),
        ("volume snapshot", "backing-up restoring updating"),
        ("volume backup", "restoring"),
    ],
)
def test_what_has_content_is_not_deleted(kind: str, states: str) -> None:
    for state in states.split():
        said = cinder(kind, state)
        assert "delete" not in said and "--state error" not in said
        assert f"openstack {kind} set --state available id" in said
        assert ("--state in-use id" in said) == (kind == "volume")


def test_files_of_the_operators_are_given_back() -> None:
    """Deleted as a volume, the file would go with it."""
    said = cinder("volume", "managing")
    assert said.endswith("openstack volume set --state error id, then cinder unmanage id")
    assert cinder("volume", "unmanaging").endswith("then cinder unmanage id")
    said = cinder("volume snapshot", "unmanaging")
    assert said.endswith("snapshot set --state error id, then cinder snapshot-unmanage id")


def test_only_what_a_start_settles_is_promised_so() -> None:
    for state in ("creating", "deleting", "downloading", "uploading", "backing-up"):
        assert "restart cinder" in cinder("volume", state)
    for state in ("extending", "managing", "reverting"):
        assert "restart cinder, which ends or undoes it in onestack's own pool" in cinder(
            "volume", state
        )
    for state in ("retyping", "unmanaging"):
        assert "restart cinder, which ends or undoes what" in cinder("volume", state)
    for state in ("deleting", "restoring", "unmanaging"):
        assert "restart cinder, which ends or undoes what" in cinder("volume snapshot", state)
    for state in ("attaching", "detaching"):
        assert "restart" not in cinder("volume", state)
    assert "restart" not in cinder("volume snapshot", "updating")
    for state in ("spawning", "image_uploading", "migrating", "powering-off"):
        assert "restart nova/nova-compute" in nova(state)
    for state in ("shelving_offloading", "unshelving", "resize_finish", "suspending"):
        assert "restart" not in nova(state)


def test_servers() -> None:
    for state in ("building", "spawning", "deleting"):
        assert nova(state).endswith("set --state error id, then delete it")
    for state in ("image_uploading", "powering-off", "reboot_started", "rebuilding", "migrating"):
        assert "delete" not in nova(state) and "error" not in nova(state)
        assert "openstack server set --state active id" in nova(state)
    # A hard reboot makes a disk that is not there.
    assert "copy its disks first (/disks/id*, on each" in nova("resize_migrating")
    # It has no host to be started at, and its image and its volumes may go with it.
    for state in ("shelving_offloading", "unshelving"):
        said = nova(state)
        assert "active" not in said and "name-shelved" in said
        before, _, _ = said.partition("then delete it")
        assert "--preserve-on-termination id VOLUME" in before


def test_databases() -> None:
    instance = trove("database instance")
    assert instance.endswith("openstack database instance reset status id")
    assert "openstack database backup show id" in trove("database backup")


def test_stacks() -> None:
    for action in ("CREATE", "UPDATE"):
        assert heat(action).startswith("openstack stack cancel --no-rollback id")
    assert heat("ROLLBACK").startswith("manage reset_stack_status id")
    for action in set(ACTIONS) - {"DELETE"}:
        assert "stack delete" not in heat(action)


@pytest.mark.parametrize(
    ("room", "kind", "state", "cure"),
    [
        (Cinder(), "volume", "detaching", "openstack volume set --state in-use id"),
        (Glance(), "image", "importing", "openstack image delete id"),
        (Heat(), "stack", "DELETE_IN_PROGRESS", "openstack stack delete id"),
        (Heat(), "stack", "CREATE_IN_PROGRESS", "openstack stack cancel --no-rollback id"),
        (Heat(), "stack", "ROLLBACK_IN_PROGRESS", "etc/heat/heat.conf reset_stack_status id"),
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


def commands() -> list[list[str]]:
    """What is to be typed, of all that is said."""
    said = [cinder(kind, state) for kind, states in STATES.items() for state in states]
    said += [nova(state) for state in ("building", "unshelving", "powering-on", "resize_finish")]
    said += [heat(action) for action in ACTIONS]
    said += [trove("database instance"), trove("database backup")]
    ends = r"(?<![\w-])(?:id VOLUME|id|INSTANCE|SERVER|name-shelved)(?!\w)"
    found = {each for text in said for each in re.findall(f"openstack .*?{ends}", text)}
    return [shlex.split(each) for each in sorted(found)]


@needs_services
def test_clients_take_what_is_said() -> None:
    ran = subprocess.run(
        [services_python(), "-W", "ignore", PARSERS],
        input=json.dumps(commands()),
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(ran.stdout) == []


@needs_services
def test_heats_client_cancels_what_is_to_be_cancelled() -> None:
    given = {f"{action}_IN_PROGRESS": heat(action) for action in ACTIONS}
    tried(TRIALS, "stacks", json.dumps(given))


@needs_services
def test_upstream_settles_at_its_start_what_is_promised() -> None:
    tried(TRIALS, "settled")
