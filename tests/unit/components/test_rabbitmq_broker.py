"""A real broker: what the probe hears of it, its log, and when it ends by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onestack.components.rabbitmq import Rabbitmq
from onestack.kernel import disk
from tests.support import broker as brokers
from tests.support.broker import Broker
from tests.support.hanging import hanging
from tests.support.needs import needs_root
from tests.support.small_disks import fill, make_room, small_disk
from tests.unit.components.rooms import context

pytestmark = [brokers.installed, needs_root, pytest.mark.timeout(600)]
QUEUES = 5
DECLARE = f"""
[rabbit_amqqueue:declare(rabbit_misc:r(<<"/">>, queue, <<"q", N>>), true, false, [], none,
    <<"test">>) || N <- lists:seq($1, $0 + {QUEUES})],
length(rabbit_amqqueue:list())
"""
# larger than what is kept in the index of a queue
PUBLISH = f"""
Body = binary:copy(<<"x">>, 6000),
Send = fun(N) -> catch rabbit_basic:publish(
    rabbit_misc:r(<<"/">>, exchange, <<>>), <<"q", ($1 + N rem {QUEUES})>>,
    [{{delivery_mode, 2}}], Body) end,
[Send(N) || N <- lists:seq(1, COUNT)],
sent
"""
WELL = """
lists:all(fun(Queue) -> is_process_alive(amqqueue:get_pid(Queue)) end, rabbit_amqqueue:list())
    andalso lists:all(fun rabbit_vhost_sup_sup:is_vhost_alive/1, rabbit_vhost:list_names())
"""
ALARMS = "length(rabbit_alarm:get_alarms())"
LOOKS = 25.0
"""Seconds in which it looks at itself twice."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The root of a cloud, on a disk that can be filled."""
    (tmp_path / "cloud").mkdir()
    tmp_path.chmod(0o755)
    with small_disk(tmp_path / "cloud", 256) as made:
        yield made


@pytest.fixture
def broker(place: Path, tmp_path: Path) -> Iterator[Broker]:
    with brokers.running(context(place, Rabbitmq()), tmp_path) as made:
        yield made


def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.5)


def test_one_that_is_well_goes_on_and_writes_nothing(broker: Broker) -> None:
    assert broker.ask(DECLARE) == str(QUEUES)
    assert broker.ask(PUBLISH.replace("COUNT", "20")) == "sent"
    # what it writes when it has started
    time.sleep(3)
    before = broker.log.stat().st_size
    for _ in range(5):
        assert broker.probed().ok
    time.sleep(LOOKS)
    assert broker.ask(WELL) == "true"
    assert broker.log.stat().st_size == before, broker.log.read_text()[-2000:]
    assert broker.end() == 0


def test_one_that_hangs_is_not_well(broker: Broker) -> None:
    with hanging(broker.server.pid):
        found = broker.probed()
        assert not found.ok and "accepts, and says nothing" in found.text
    until(lambda: broker.probed().ok, 10)


def test_its_log_goes_on_when_it_was_made_shorter(broker: Broker) -> None:
    os.truncate(broker.log, 0)
    broker.say_nonsense()
    until(lambda: broker.log.stat().st_size > 0, 10)
    assert b"\0" not in broker.log.read_bytes()


def test_its_log_goes_on_after_a_full_disk(broker: Broker, place: Path) -> None:
    fill(place)
    for _ in range(10):
        broker.say_nonsense()
        time.sleep(0.5)
    make_room(place)
    time.sleep(2)
    before = broker.log.stat().st_size
    broker.say_nonsense()
    until(lambda: broker.log.stat().st_size > before, 15)


def test_it_stops_taking_messages_where_the_disk_is_called_full(
    broker: Broker, place: Path
) -> None:
    assert broker.ask(ALARMS) == "0"
    fill(place, left=disk.FULL + (8 << 20))
    time.sleep(12)
    assert broker.ask(ALARMS) == "0"
    fill(place, left=disk.FULL - (1 << 20))
    until(lambda: broker.ask(ALARMS) == "1", 30)
    make_room(place)
    until(lambda: broker.ask(ALARMS) == "0", 30)


def test_one_that_ended_inside_ends_as_a_whole(broker: Broker) -> None:
    """Erlang would run on, with nobody at the port."""
    broker.ask("spawn(fun() -> application:stop(rabbit) end), asked")
    assert broker.server.wait(30) == 1


def test_one_that_lost_its_queues_is_made_anew_once_there_is_room(
    broker: Broker, place: Path
) -> None:
    assert broker.ask(DECLARE) == str(QUEUES)
    assert broker.ask(PUBLISH.replace("COUNT", "50")) == "sent"
    fill(place)
    broker.ask(PUBLISH.replace("COUNT", "5000"), seconds=120)

    def ended() -> bool:
        return broker.server.poll() is not None

    until(lambda: ended() or broker.ask(WELL) != "true", 60)
    # It may end as a whole already now: what it knows of itself cannot be written either.
    until(lambda: ended() or broker.ask(ALARMS) != "0", 30)
    make_room(place)
    assert broker.server.wait(90) == 1
    broker.start()
    assert broker.probed().ok
    until(lambda: broker.ask(WELL) == "true", 30)
    assert broker.ask("length(rabbit_amqqueue:list())") == str(QUEUES)
    assert broker.ask(PUBLISH.replace("COUNT", "20")) == "sent"
