"""Metering and alarms: what is measured of a guest, and alarms that do something about it."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.model.cloud import Cloud
from onestack.release.release import release
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, wait_until

TEMPLATE = Path(__file__).with_name("telemetry") / "scaling.yaml"
NETWORK = "telemetry-net"
INTERVAL = 10
"""As in the answers of these tests."""
SECOND = 10**9
BUSY = INTERVAL * SECOND // 7
IDLE = INTERVAL * SECOND // 12
"""An idle guest uses up to 0.45 s in ten on a full machine, and a busy one has 3 s left there."""
OF_A_GUEST = (
    *("cpu", "memory", "memory.usage", "memory.resident", "vcpus", "power.state"),
    *("disk.root.size", "disk.ephemeral.size", "compute.instance.booting.time"),
)
OF_ITS_DISK = ("disk.device.read.bytes", "disk.device.write.requests", "disk.device.capacity")
OF_ITS_PORT = ("network.incoming.bytes", "network.outgoing.packets")
LENGTHS = """
import json, sys
import kombu
root = sys.argv[1]
secret = json.load(open(f"{root}/etc/secrets.json"))["rabbitmq"]
with kombu.Connection(hostname=sys.argv[2], userid="openstack", password=secret) as bus:
    found = {}
    for name in sys.argv[3:]:
        channel = bus.channel()
        try:
            found[name] = channel.queue_declare(name, passive=True).message_count
        except bus.channel_errors:
            found[name] = None
    print(json.dumps(found))
"""


class Telemetry:
    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud
        self.server = ""

    def json(self, line: str) -> Any:
        return json.loads(self.cloud.type(f"openstack {line} -f json"))

    def measures(self, metric: str, resource: str = "", aggregation: str = "mean") -> list[float]:
        """The values of the finest granularity, oldest first."""
        where = f"--resource-id {resource}" if resource else ""
        words = f"--aggregation {aggregation} --granularity {INTERVAL}"
        found = self.json(f"metric measures show {where} {words} {metric}")
        return [float(point["value"]) for point in found]

    def last(self, metric: str, resource: str) -> float:
        return self.measures(metric, resource)[-1]

    def part(self, kind: str) -> str:
        """The id of the server's one disk or port, among the resources of the store."""
        query = f"'instance_id={self.server}'"
        (found,) = self.json(f"metric resource search --type {kind} {query}")
        return str(found["id"])

    def state(self, alarm: str) -> str:
        return self.cloud.type(f"openstack alarm show {alarm} -f value -c state").strip()

    def group(self) -> list[str]:
        """The servers of the stack that are there and run."""
        value = self.json("stack output show scaling servers")["output_value"]
        wanted = set(value if isinstance(value, list) else json.loads(value))
        listed = self.json("server list")
        return sorted(s["ID"] for s in listed if s["ID"] in wanted and s["Status"] == "ACTIVE")


@pytest.fixture(scope="module")
def telemetry(cloud: CloudUnderTest) -> Iterator[Telemetry]:
    cloud.type(
        f"openstack network create {NETWORK} && openstack subnet create {NETWORK} "
        f"--network {NETWORK} --subnet-range 192.168.78.0/24"
    )
    yield Telemetry(cloud)
    cloud.type("openstack alarm delete --name deleted", expect=None)
    cloud.type("openstack alarm delete --name hot", expect=None)
    cloud.type("openstack stack delete -y --wait scaling", expect=None, timeout=300)
    cloud.type("openstack server delete --wait measured", expect=None)
    cloud.type(f"openstack network delete {NETWORK}", expect=None)


def test_a_guest_is_measured(telemetry: Telemetry) -> None:
    telemetry.server = telemetry.cloud.type(
        f"openstack server create --flavor m1.nano --image cirros --network {NETWORK} "
        "--property metering.server_group=mine --wait measured -f value -c id"
    ).strip()
    server = telemetry.server
    used = wait_until(
        "the processor time of a guest",
        lambda: telemetry.measures("cpu", server, "rate:mean"),
        120,
    )
    assert 0 < max(used) < 60 * SECOND
    of_guest = wait_until(
        "all that is measured of a guest",
        lambda: (
            set(telemetry.json(f"metric resource show {server}")["metrics"]) >= set(OF_A_GUEST)
            and telemetry.measures("memory.usage", server)
        ),
        120,
    )
    # The kernel, its init and a shell: within what the flavor has.
    assert 10 < of_guest[-1] < 192
    assert telemetry.measures("memory", server)[-1] == 192
    disk, port = telemetry.part("instance_disk"), telemetry.part("instance_network_interface")
    for part, meters in ((disk, OF_ITS_DISK), (port, OF_ITS_PORT)):
        for meter in meters:
            wait_until(meter, functools.partial(telemetry.last, meter, part), 60)
    (shown,) = telemetry.json(f"metric resource search --type instance id={server}")
    assert (shown["display_name"], shown["server_group"], shown["flavor_name"]) == (
        *("measured", "mine", "m1.nano"),
    )


def test_what_services_count_is_measured(telemetry: Telemetry) -> None:
    image = telemetry.json("image show cirros")
    sizes = wait_until(
        "an image's size", lambda: telemetry.measures("image.size", image["id"]), 330, 5
    )
    assert sizes[-1] == image["size"]


def test_an_alarm_on_measures_changes_its_state(telemetry: Telemetry) -> None:
    metric = telemetry.json(f"metric create --archive-policy-name every-{INTERVAL}s")["id"]
    alarm = telemetry.json(
        "alarm create --name hot --type gnocchi_aggregation_by_metrics_threshold "
        f"--metric {metric} --aggregation-method mean --granularity {INTERVAL} "
        "--evaluation-periods 1 --comparison-operator gt --threshold 50 --alarm-action log://"
    )["alarm_id"]

    def measure(value: int) -> None:
        telemetry.cloud.type(
            f"openstack metric measures add {metric} -m $(date -u +%Y-%m-%dT%H:%M:%S)@{value}"
        )

    def becomes(state: str, value: int) -> bool:
        measure(value)
        return telemetry.state(alarm) == state

    wait_until("ok at 20", lambda: becomes("ok", 20), 60, INTERVAL / 2)
    wait_until("alarm at 90", lambda: becomes("alarm", 90), 60, INTERVAL / 2)
    wait_until("ok again at 20", lambda: becomes("ok", 20), 60, INTERVAL / 2)
    changes = telemetry.json(f"alarm-history show {alarm}")
    assert [c["type"] for c in changes].count("state transition") >= 3
    telemetry.cloud.type(f"openstack alarm delete {alarm}; openstack metric delete {metric}")


def test_an_alarm_on_an_event_is_raised(telemetry: Telemetry) -> None:
    server = telemetry.server
    alarm = telemetry.json(
        "alarm create --name deleted --type event --event-type compute.instance.delete.end "
        f"--query 'traits.instance_id=string::{server}' --alarm-action log://"
    )["alarm_id"]
    assert telemetry.state(alarm) == "insufficient data"
    telemetry.cloud.type(f"openstack server delete --wait {server}")
    wait_until("the alarm", lambda: telemetry.state(alarm) == "alarm", 60)
    wait_until(
        "the end of what is measured of it",
        lambda: telemetry.json(f"metric resource show --type instance {server}")["ended_at"],
        30,
    )
    telemetry.cloud.type(f"openstack alarm delete {alarm}")


def test_a_stack_grows_while_its_servers_are_busy(telemetry: Telemetry) -> None:
    cloud = telemetry.cloud
    given = {"network": NETWORK, "granularity": INTERVAL, "busy_above": BUSY, "idle_below": IDLE}
    words = " ".join(f"--parameter {name}={value}" for name, value in given.items())
    cloud.type(f"openstack stack create -t {TEMPLATE} {words} --wait scaling", timeout=400)
    alarms = {
        name: cloud.type(
            f"openstack stack resource show scaling {name} -f value -c physical_resource_id"
        ).strip()
        for name in ("busy", "idle")
    }
    # A guest that boots is busy too.
    wait_until("an idle group", lambda: telemetry.state(alarms["idle"]) == "alarm", 240)
    (server,) = wait_until(
        "one server", lambda: (g := telemetry.group()) and len(g) == 1 and g, 120
    )
    cloud.type(f"openstack server set --property work=yes {server}")
    wait_until("an alarm", lambda: telemetry.state(alarms["busy"]) == "alarm", 180)
    both = wait_until("two servers", lambda: len(g := telemetry.group()) == 2 and g, 180)
    assert server in both
    cloud.type(f"openstack server set --property work=no {server}")
    wait_until("one server again", lambda: len(telemetry.group()) == 1, 240)
    assert telemetry.state(alarms["busy"]) != "alarm"
    cloud.type("openstack stack delete -y --wait scaling", timeout=300)
    left = {a["alarm_id"] for a in telemetry.json("alarm list")}
    assert not left & set(alarms.values())


def test_no_queue_fills_unread(telemetry: Telemetry) -> None:
    """All that was told is taken, of whatever importance, and alarms' own messages too."""
    cloud = telemetry.cloud
    queues = [
        *(f"notifications.{level}" for level in ("audit", "debug", "info", "sample")),
        *(f"notifications.{level}" for level in ("warn", "error", "critical")),
        *("alarm.all.sample", "alarming.sample", "event.sample"),
    ]
    host = Cloud.named(cloud.name).loopback
    words = [str(release().services.python), "-c", LENGTHS, str(cloud.root), host, *queues]

    def lengths() -> dict[str, int]:
        found: dict[str, int | None] = json.loads(cloud.type(shlex.join(words)))
        return {name: length for name, length in found.items() if length is not None}

    assert {"notifications.info", "notifications.sample", "alarm.all.sample"} <= set(lengths())
    wait_until("empty queues", lambda: not any(lengths().values()), 30, 0.2)


def test_nothing_went_wrong(telemetry: Telemetry) -> None:
    logs = ("gnocchi.log", "ceilometer.log", "aodh.log")
    lines = unexpected(telemetry.cloud.error_lines())
    assert not [line for line in lines if line.startswith(logs)]
