"""The rooms of Gnocchi, Ceilometer and Aodh, and who tells whom what."""

from __future__ import annotations

import configparser
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.components import ALL
from onestack.components.aodh import Aodh
from onestack.components.ceilometer import Ceilometer, definitions, metering_health
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.gnocchi import Gnocchi
from onestack.components.heat import Heat
from onestack.components.libvirt import Libvirt
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.rabbitmq.accounts import LONGEST, NOTIFICATIONS
from onestack.database.upstream_tables import gnocchi, nova
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.errors import NotInstalled
from onestack.model.key import Class
from onestack.release.release import release
from tests.support.needs import needs_services, services_python
from tests.unit.components.rooms import answered, content, context
from tests.unit.components.upstream import UPSTREAM, write_upstream

GNOCCHI, CEILOMETER, AODH = Gnocchi(), Ceilometer(), Aodh()
ROOMS = (GNOCCHI, CEILOMETER, AODH)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cloud's root; the release beside it has what the rooms read of it."""
    write_upstream(context(tmp_path))
    return tmp_path


def options(ctx: Context, room: Component, name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section="")
    parser.read_string(content(ctx, room, name))
    return parser


def loaded(ctx: Context, name: str) -> Any:
    return json.loads(content(ctx, CEILOMETER, name))


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, set()),
        ({"CONFIG_CEILOMETER_INSTALL": "y"}, {"gnocchi", "ceilometer"}),
        (
            {"CONFIG_CEILOMETER_INSTALL": "y", "CONFIG_AODH_INSTALL": "y"},
            {"gnocchi", "ceilometer", "aodh"},
        ),
        # as with packstack: without Ceilometer none of it
        ({"CONFIG_AODH_INSTALL": "y", "CONFIG_GNOCCHI_INSTALL": "y"}, set()),
        (
            {"CONFIG_HEAT_INSTALL": "y", "CONFIG_HEAT_CLOUDWATCH_INSTALL": "y"},
            {"gnocchi", "ceilometer", "aodh"},
        ),
        ({"CONFIG_HEAT_CLOUDWATCH_INSTALL": "y"}, set()),
    ],
)
def test_what_turns_them_on(given: dict[str, str], on: set[str]) -> None:
    answers = registry().answers(given)
    assert {room.name for room in ROOMS if room.enabled(answers)} == on


def test_packstacks_keys_are_known_for_what_they_are() -> None:
    keys = registry().keys
    assert keys["CONFIG_CEILOMETER_INSTALL"].outcome is Class.IMPLEMENTED
    assert keys["CONFIG_HEAT_CLOUDWATCH_INSTALL"].outcome is Class.MAPPED
    assert "Aodh" in keys["CONFIG_HEAT_CLOUDWATCH_INSTALL"].note
    assert "Gnocchi" in keys["CONFIG_MONGODB_HOST"].note
    assert "CONFIG_CEILOMETER_DB_PW" not in keys


@pytest.mark.parametrize("text", ["4", "3601", "often", "-60"])
def test_intervals_that_cannot_be(text: str) -> None:
    answers, wrong = answered(CONFIG_ONESTACK_METERING_INTERVAL=text)
    assert answers is None
    assert "5 to 3600" in wrong[0] or "number" in wrong[0]


def test_everything_is_below_the_clouds_root(root: Path) -> None:
    ctx = context(root, *ROOMS, name="a")
    allowed = (str(root), str(ctx.release.services.place))
    for room, name in ((GNOCCHI, "gnocchi.conf"), (CEILOMETER, "ceilometer.conf")):
        text = content(ctx, room, name)
        paths = re.findall(r"(?<![\w:/.])/[\w./-]+", text)
        assert not [p for p in paths if not p.startswith((*allowed, "/gnocchi", "/v3"))]
        assert ctx.internal in text
        assert "127.77.0.1" not in text


def test_each_is_one_process_of_its_own_user(root: Path) -> None:
    ctx = context(root, *ROOMS, Libvirt())
    for room in ROOMS:
        (process,) = room.processes(ctx)
        assert (process.name, process.user) == (room.name, f"onestack-{room.name}")
        assert not process.capabilities
        # A changed file is read by a new process.
        assert set(process.files) == {str(file.path) for file in room.files(ctx)}
    (process,) = CEILOMETER.processes(ctx)
    assert process.groups == ("onestack-libvirt",)
    assert "hypervisor" in process.needs


def test_without_guests_libvirt_is_not_asked(root: Path) -> None:
    ctx = context(root, *ROOMS)
    (process,) = CEILOMETER.processes(ctx)
    assert not process.groups
    assert "hypervisor" not in process.needs
    assert loaded(ctx, "polling.yaml") == {"sources": []}


@pytest.mark.parametrize(("room", "name"), [(GNOCCHI, "gnocchi"), (AODH, "aodh")])
def test_middleware_reads_the_clouds_own_file(root: Path, room: Component, name: str) -> None:
    ctx = context(root, *ROOMS)
    text = content(ctx, room, "api-paste.ini")
    assert text.startswith(f"[DEFAULT]\noslo_config_file = {root}/etc/{name}/{name}.conf\n")
    assert f"[app:{name}]" in text
    assert options(ctx, room, f"{name}.conf")["api"]["paste_config"] == (
        f"{root}/etc/{name}/api-paste.ini"
    )


@pytest.mark.parametrize(
    "room", [Nova(), Neutron(), Cinder(), Glance(), Heat()], ids=lambda room: room.name
)
def test_services_tell_what_they_do_only_to_somebody_who_listens(
    root: Path, room: Component
) -> None:
    def drivers(ctx: Context) -> set[str]:
        found = set()
        for file in room.files(ctx):
            if file.ini and "oslo_messaging_notifications" in file.ini:
                found.add(str(file.ini["oslo_messaging_notifications"]["driver"]))
        return found

    assert drivers(context(root, room)) == {"noop"}
    assert drivers(context(root, room, GNOCCHI, CEILOMETER)) == {"messagingv2"}


def test_a_queue_that_nobody_reads_has_an_end() -> None:
    assert NOTIFICATIONS.definition == {"max-length-bytes": LONGEST, "overflow": "drop-head"}
    for queue in ("notifications.info", "notifications.error", "alarm.all.sample"):
        assert re.search(NOTIFICATIONS.pattern, queue)
    for queue in ("conductor", "q-plugin", "reply_1", "compute.vm"):
        assert not re.search(NOTIFICATIONS.pattern, queue)


def test_events_go_to_alarms_where_there_are_some(root: Path) -> None:
    def publishers(*rooms: Component) -> list[str]:
        (sink,) = loaded(context(root, *rooms), "event_pipeline.yaml")["sinks"]
        found: list[str] = sink["publishers"]
        return found

    store = f"gnocchi://?resources_definition_file={root}/etc/ceilometer/gnocchi_resources.yaml"
    assert publishers(GNOCCHI, CEILOMETER) == [store]
    assert publishers(*ROOMS) == [store, "notifier://?topic=alarm.all"]


def test_what_is_looked_at_and_how_often(root: Path) -> None:
    ctx = context(
        root, *ROOMS, Libvirt(), Cinder(), Glance(), CONFIG_ONESTACK_METERING_INTERVAL="20"
    )
    guests, services = loaded(ctx, "polling.yaml")["sources"]
    assert (guests["interval"], services["interval"]) == (20, 300)
    assert "cpu" in guests["meters"]
    assert {"image.size", "volume.size"} <= set(services["meters"])
    assert "ip.floating" not in services["meters"]


def test_kinds_of_resources_are_upstreams_with_finer_archives(root: Path) -> None:
    ctx = context(root, *ROOMS, CONFIG_ONESTACK_METERING_INTERVAL="20")
    lines = content(ctx, CEILOMETER, "gnocchi_resources.yaml").splitlines()
    assert lines[0] == 'archive_policy_default: "every-20s"'
    plain, rate = json.loads(lines[1].partition(": ")[2])
    assert (plain["name"], plain["aggregation_methods"]) == ("every-20s", ["mean"])
    assert (rate["name"], rate["aggregation_methods"]) == ("every-20s-rate", ["mean", "rate:mean"])
    assert [d["granularity"] for d in rate["definition"]] == ["20 seconds", "300 seconds"]
    text = "\n".join(lines[2:])
    assert "archive_policy_name: every-20s-rate" in text
    assert "ceilometer-low" not in text
    # not with the beginning of its deletion: measures that follow would revive it
    assert "event_delete: compute.instance.delete.end" in text


def test_a_slow_interval_has_one_archive() -> None:
    text = UPSTREAM["ceilometer/publisher/data/gnocchi_resources.yaml"]
    (_, policies, *_) = definitions.kinds(text, 600).splitlines()
    assert {len(p["definition"]) for p in json.loads(policies.partition(": ")[2])} == {1}


def test_alarms_wait_for_what_comes_late(root: Path) -> None:
    ctx = context(root, *ROOMS, CONFIG_ONESTACK_METERING_INTERVAL="30")
    conf = options(ctx, AODH, "aodh.conf")
    assert conf["evaluator"]["evaluation_interval"] == "30"
    assert conf["DEFAULT"]["additional_ingestion_lag"] == "60"


def test_an_alarms_action_may_be_behind_the_clouds_own_front(root: Path) -> None:
    conf = options(context(root, *ROOMS), AODH, "aodh.conf")
    assert conf["DEFAULT"]["rest_notifier_ca_bundle_certificate_path"] == f"{root}/etc/tls/ca.pem"


def test_nothing_of_neutrons_is_in_everybodys_warm_parent(root: Path) -> None:
    """neutron_lib listens to all database sessions, and does not bear Gnocchi's."""
    ctx = context(root, *ALL)
    preloaded = {module for room in ALL for module in room.preload(ctx)}
    assert not [m for m in preloaded if m.split(".")[0] in ("neutron_lib", "neutron", "eventlet")]


@pytest.mark.parametrize(
    ("room", "line", "says"),
    [
        (GNOCCHI, "OSError: [Errno 28] No space left on device", "df -h"),
        (GNOCCHI, "(1045, \"Access denied for user 'gnocchi'@'localhost'\")", "run up again"),
        (GNOCCHI, "Unable to decode measure 1, possible data corruption", "may be removed"),
        (GNOCCHI, "gnocchi.incoming.SackDetectionError: no file", "onestack restart gnocchi"),
        (
            CEILOMETER,
            "libvirt: XML-RPC error : Failed to connect socket to '/x': No such file",
            "onestack restart libvirt",
        ),
        (
            CEILOMETER,
            "Gnocchi client exception while pushing measures: Unable to establish connection",
            "onestack logs gnocchi",
        ),
        (CEILOMETER, "Skipping volumes, keystone issue: timed out", "onestack logs keystone"),
        (AODH, "Unable to notify alarm 1: [SSL: CERTIFICATE_VERIFY_FAILED]", "ca.pem"),
        (AODH, "Unable to notify alarm 1", "openstack alarm show"),
        (AODH, "alarm statistics retrieval failed: 503", "onestack logs gnocchi"),
        (AODH, "(1045, \"Access denied for user 'aodh'@'localhost'\")", "run up again"),
        *((room, "something else", None) for room in ROOMS),
    ],
)
def test_explanations(root: Path, room: Component, line: str, says: str | None) -> None:
    text = context(root, room).model.likely(room.name, line)
    assert (says in text) if says and text else text is None and says is None


def test_measures_that_wait_too_long_are_found(root: Path) -> None:
    ctx = context(root, *ROOMS)
    assert list(GNOCCHI.health_checks(ctx)) == []
    sack = root / "data" / "gnocchi" / "measures" / "incoming8-3" / "a-metric"
    sack.mkdir(parents=True)
    (sack / "new").touch()
    assert list(GNOCCHI.health_checks(ctx)) == []
    old = sack / "old"
    old.touch()
    os.utime(old, (time.time() - 500, time.time() - 500))
    (found,) = GNOCCHI.health_checks(ctx)
    assert found.what.startswith("2 batches of measures wait")
    assert "restart gnocchi" in found.cure


@pytest.mark.parametrize(
    ("running", "since", "seconds"),
    [(0, None, 0), (0, 9000, 0), (2, 100, 0), (2, 9000, 9000), (2, None, 241)],
)
def test_servers_that_nobody_measures_are_found(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    running: int,
    since: int | None,
    seconds: int,
) -> None:
    monkeypatch.setattr(nova, "running_longer_than", lambda server, seconds: running)
    monkeypatch.setattr(gnocchi, "seconds_since_last", lambda server, metric: since)
    ctx = context(root, *ROOMS, Nova())
    assert metering_health.silence(ctx) == seconds
    found = list(CEILOMETER.health_checks(ctx))
    assert bool(found) == bool(seconds)
    if found:
        assert f"for {seconds} s" in found[0].what
        assert "restart ceilometer" in found[0].cure


def test_without_servers_none_is_missed(root: Path) -> None:
    assert list(CEILOMETER.health_checks(context(root, *ROOMS))) == []


def test_switched_off_they_can_be_asked_without_a_release(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    for room in ROOMS:
        with pytest.raises(NotInstalled):
            list(room.files(ctx))
        assert list(room.directories(ctx))


@needs_services
def test_no_notification_is_logged_with_its_token() -> None:
    """The modules of upstream's that print whole messages are the ones that are quiet."""
    from onestack.components.ceilometer.inside.run import TELL_TOKENS

    place = release().services.site_packages / "ceilometer"
    if not place.is_dir():
        place = services_python().parents[1] / "lib" / "python3.11" / "site-packages" / "ceilometer"
    found = set()
    for path in place.rglob("*.py"):
        if "tests" in path.parts:
            continue
        for call in re.findall(r"LOG\.debug\((.*?)\)", path.read_text(), re.DOTALL):
            if re.search(r"\b(message|notification|ctxt)\b(?!s)", call.rpartition('"')[2]):
                found.add(str(path.relative_to(place.parent).with_suffix("")).replace("/", "."))
    assert found == set(TELL_TOKENS)
