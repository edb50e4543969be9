"""Trove's room inside upstream: threads, who is believed, what is settled at a start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onestack.components import openstack
from onestack.components.ceilometer import Ceilometer
from onestack.components.rabbitmq import Rabbitmq
from onestack.components.trove import Trove, config
from onestack.model.ini import Ini, ini_text
from tests.support import broker
from tests.support.databases import INTRUDED
from tests.support.needs import needs_root, needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import content, context

TRIALS = Path(__file__).with_name("trove_trials.py")

pytestmark = needs_services


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the release's tables."""
    folder = tmp_path_factory.mktemp("schema")
    assert trial("schema", folder) is True
    return folder / "trove.sqlite"


@pytest.fixture
def place(tmp_path: Path, schema: Path) -> Path:
    """A folder with that database."""
    shutil.copyfile(schema, tmp_path / "trove.sqlite")
    return tmp_path


def trial(name: str, folder: Path) -> Any:
    """What it found."""
    trove = Trove()
    place = folder / "etc" / "trove"
    place.mkdir(parents=True, exist_ok=True)
    ctx = context(folder, trove, CONFIG_TROVE_INSTALL="y")
    (place / "policy.yaml").write_text(content(ctx, trove, "policy.yaml"))
    done = tried(TRIALS, name, folder, timeout=180)
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_is_patched(place: Path) -> None:
    """And who wants to patch later still can: upstream's function is as it was."""
    found = trial("native", place)
    assert found["modules"] == ["socket", "threading", "queue"]
    assert found["patched"] == []
    assert found["patches"] == "eventlet.patcher"


def test_nothing_secret_is_in_the_log(place: Path) -> None:
    found = trial("log", place)
    for said in ("POST /v1.0/p/instances/i/root", "X-Auth-Token: ***", "a body", "too few"):
        assert said in found, (said, found)
    assert "ValueError" in found and "Traceback" in found
    assert "Creating users" in found and "Updating user password" in found
    assert found.count("PUT /v1.0/p/instances/i/users") == 2
    for secret in ("of-a-client", "it's", "mine", "gAAAA", "xxxx", "a-user", "of-two", "of-three"):
        assert secret not in found, (secret, found)


def test_a_reader_may_not_write(place: Path) -> None:
    found = trial("policy", place)
    assert found["reading"] == sorted(config.READING)
    assert found["reader"] == sorted({*found["reading"], *found["public"]})
    assert found["member"] == sorted({*found["owned"], *found["public"]})
    assert found["stranger"] == found["public"]


def test_who_is_believed(place: Path) -> None:
    found = trial("messages", place)
    for name, becomes in (("own", "healthy"), ("the service", "running")):
        answer, status = found.pop(name)
        assert answer.startswith("taken: ") and status == becomes
    assert found.pop("private").startswith("NoSuchMethod")
    told = {name: answer for name, answer in found.items() if isinstance(answer, str)}
    beats = {name: answer for name, answer in found.items() if name not in told}
    assert set(told) == {"a class", "a fault of another"}
    for name, (answer, status) in beats.items():
        assert answer.startswith("Disbelieved: "), (name, answer)
        assert status in ("healthy", "new", "running"), (name, status)
    for name, answer in told.items():
        assert answer.startswith("Disbelieved: "), (name, answer)


def test_who_gives_orders(place: Path) -> None:
    found = trial("orders", place)
    assert found["key"].startswith("taken: ")
    for name in ("none", "another", "forged"):
        assert found[name].startswith("Disbelieved: "), (name, found[name])
    # The reason for all this: should upstream do it one day, ours can go.
    assert found["forged, upstream"].startswith("taken: ")
    assert found["heard"] == ["i", "u"]
    # What the service's page warns of. Should this be refused one day, the page is to say so.
    assert found["spliced"].startswith("taken: ")


def test_what_a_guest_may_say_of_backups(place: Path) -> None:
    found = trial("backups", place)
    for name in ("owner", "no state"):
        answer, state, tenant = found[name]
        assert answer.startswith("Disbelieved: ") and (state, tenant) == ("BUILDING", "one")
    # Upstream's own check.
    assert found["of another"][1:] == ["BUILDING", "one"]
    assert found["started"] == ["FAILED", "BUILDING"]
    answer, *kept = found["own"]
    assert answer.startswith("taken: ") and kept == ["COMPLETED", "one"]


def test_a_host_is_asked_once_it_listens(place: Path) -> None:
    """Its last word before the power was cut does not count."""
    assert trial("after_a_power_cut", place) == 3 * [{"binary": "nova-compute", "host": "one"}]


def test_a_guest_is_given_all_of_its_time_again(place: Path) -> None:
    """That of a restore, which it may be, however long the machine was off."""
    assert trial("waited_for_again", place) == [[3600, {"ram": 2048}]]


def test_what_was_interrupted_comes_to_an_end(place: Path) -> None:
    found = trial("interrupted", place)
    tasks = found["tasks"]
    still = {"begun": "BUILDING", "waited": "BUILDING", "DELETING": "DELETING"}
    still |= {"RESIZING": "RESIZING", "MIGRATING": "MIGRATING"}
    for name in ("REBOOTING", "LOGGING", "UPDATING", "PROMOTING", "EJECTING", "DETACHING"):
        assert "NONE" in tasks[name], (name, tasks[name])
    assert "NONE" in tasks["UPGRADING"]
    assert "Build error: Server" in tasks["BUILDING"]
    assert "RESTART_REQUIRED" in tasks["RESTART_REQUIRED"]
    for name, task in still.items():
        assert task in tasks[name], (name, tasks[name])
    # Who is still at work has somebody who is; the deletion was refused twice before.
    assert found["did"] == [
        ["back", "MIGRATING"],
        ["back", "RESIZING"],
        ["delete", "DELETING"],
        ["wait", "waited"],
    ]
    assert found["backups"] == {
        "NEW": "FAILED",
        "BUILDING": "BUILDING",
        "SAVING": "FAILED",
        "COMPLETED": "COMPLETED",
    }
    assert found["reserved"] == [0]
    assert found["reservations"] == ["Rolled Back"]


def test_what_cannot_be_brought_to_an_end_is_usable_or_in_error(place: Path) -> None:
    """Nova fails for each, and the first of the builds in a way nobody thought of."""
    found = trial("failing", place)
    tasks, log = found["tasks"], found["log"]
    assert found["asked"] == ["MIGRATING", "RESIZING", "asked", "waited"]
    for name in ("RESIZING", "MIGRATING", "asked"):
        assert "NONE" in tasks[name], (name, tasks[name])
    for name in ("waited", "without"):
        assert "Build error: Server" in tasks[name], (name, tasks[name])
    # That of the guest that is gone; the other's guest says so itself, or the next start does.
    assert found["backups"] == {"asked": "SAVING", "gone": "FAILED"}
    assert log.count("Traceback") >= 5
    assert "nova: 503" in log and "the first of all" in log


def test_what_the_agent_believes_of_containers(place: Path) -> None:
    found = trial("agent", place)
    assert found.pop("told") == [
        {"timeout": 900},
        {"healthcheck": {"timeout": 60 * 10**9, "retries": 3}},
        {"healthcheck": None},
    ]
    assert found == {"restored": True, "failed": False, "of another": True}


def test_a_deletion_waits_for_the_making_and_nobody_makes_it_after(place: Path) -> None:
    found = trial("one_at_a_time", place)
    assert found["did"] == ["made", "deleted with a-server"]
    tags = {"all_tenants": True, "tags": f"trove_instance_id_{found['id']}"}
    named = {"name": f"trove-{found['id']}"}
    assert found["asked"] == [tags, named, named]
    assert found["waited"] == "no more"


def test_keys_of_guests(place: Path) -> None:
    assert trial("keys", place) == {"wrong": [], "seeded": False}


def test_a_guests_queue_is_made(place: Path) -> None:
    assert trial("queue", place) == {"made": True}


def test_what_it_tells_goes_to_exchanges_as_all_others_make_them(tmp_path: Path) -> None:
    """The broker refuses one that is there with other arguments, and its own bus has others."""
    trove = Trove()
    given = {"CONFIG_TROVE_INSTALL": "y", "CONFIG_CEILOMETER_INSTALL": "y"}
    ctx = context(tmp_path, trove, Ceilometer(), Rabbitmq(), **given)
    (tmp_path / "trove.conf").write_text(content(ctx, trove, "trove.conf"))
    found = json.loads(tried(TRIALS, "exchanges", tmp_path).stdout)
    assert found == {"own": True, "told": openstack.QUEUES["amqp_durable_queues"]}


@broker.installed
@needs_root
@pytest.mark.timeout(600)
def test_guests_do_their_work_at_the_bus_and_nothing_else(place: Path) -> None:
    """A real one: each end with its own account, and whoever broke into a guest with that one's."""
    place.chmod(0o755)
    (place / "cloud").mkdir()
    (place / "conf.d").mkdir()
    ctx = context(place / "cloud", Rabbitmq(), Trove(), CONFIG_TROVE_INSTALL="y")
    database: Ini = {"database": {"connection": f"sqlite:///{place}/trove.sqlite"}}
    (place / "trove.conf").write_text(ini_text({**config.sections(ctx), **database}))
    agent = ini_text(config.agent_sections(ctx))
    # Past the front, which has the certificate.
    front = f"{config.management(ctx).address}:{config.BUS_PORT}"
    agent = agent.replace(front, str(ctx.at("messaging"))).replace("ssl = true", "ssl = false")
    agent = agent.replace("/var/log/trove", str(place))
    (place / "conf.d/agent.conf").write_text(agent)
    with broker.running(ctx, place):
        found = json.loads(tried(TRIALS, "bus", place, timeout=400).stdout.splitlines()[-1])
    assert found["heard"] == [True]
    assert found["answer"] == {"memory": 512}
    assert found["tries"] == INTRUDED
    # What the broker lets through nobody believes.
    assert sorted(f"tell by {way}" for way in found["came"]) == sorted(
        name for name in INTRUDED if name.startswith("tell by")
    )
    assert found["obeyed"] == []


def test_what_is_believed_of_guests_answers(place: Path) -> None:
    found = trial("answers", place)
    assert found.pop("own enable_root") == {"_name": "root", "_password": "chosen"}
    assert found.pop("own restart") is None
    assert len(found) == 4
    for name, answer in found.items():
        assert "not encrypted with its sender's key" in str(answer), (name, answer)


def test_the_whole_process(place: Path) -> None:
    found = trial("serving", place)
    assert found == {"answers": [[200, True], [401, False]], "patched": "socket", "ended": True}


def test_ids_are_read(tmp_path: Path) -> None:
    ids: Ini = {"DEFAULT": {"management_networks": ["a"], "management_security_groups": ["b"]}}
    (tmp_path / "management.conf").write_text(ini_text(ids))
    assert trial("options", tmp_path) == [["a"], ["b"]]
