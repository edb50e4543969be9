"""What a host's account can do at the bus, by upstream's own library: run by test_rabbitmq_hosts.

``python rabbitmq_trials.py host MAIN HOST HOSTNAME PROCESS FOLDER``: the URLs of the account of
all services and of the host's, what the names of the host's queues have, and a place for locks;
ends with 0 when all is as expected.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from typing import Any

import kombu
import oslo_messaging as messaging
from oslo_concurrency import lockutils
from oslo_config import cfg
from oslo_messaging import opts
from oslo_messaging._metrics.client import oslo_messaging_metrics as metrics
from oslo_messaging._tracing.client import oslo_messaging_tracing as tracing

from onestack.components import bus
from onestack.components.nova.inside import callers, standing
from onestack.runtime import messaging as runtime
from tests.support.intruder import Intruder

OWN = "compute.web1"
EXCHANGES = {one.name: one.kind for one in bus.EXCHANGES}
QUEUES = [one.name for one in bus.QUEUES]


class Answers:
    target = messaging.Target(version="1.0")

    def __init__(self, name: str) -> None:
        self.name = name

    def who(self, ctxt: dict[str, str]) -> str:
        return self.name

    def note(self, ctxt: dict[str, str], done: str) -> None:
        HEARD.append((self.name, done))
        EVENT.set()


HEARD: list[tuple[str, str]] = []
EVENT = threading.Event()


def transport(url: str, host: str, process: str) -> Any:
    """As that host's ``process`` has it."""
    conf = cfg.ConfigOpts()
    conf([])
    messaging.set_transport_defaults("nova")
    # Two groups are missing there, and are read by whoever calls.
    beside = (("oslo_messaging_tracing", tracing), ("oslo_messaging_metrics", metrics))
    for group, options in (*opts.list_opts(), *beside):
        conf.register_opts(list(options), group)
    named = {"use_queue_manager": True, "hostname": host, "processname": process}
    for option, value in (*named.items(), ("rabbit_retry_interval", 1)):
        conf.set_override(option, value, "oslo_messaging_rabbit")
    return messaging.get_rpc_transport(conf, url)


def server(of: Any, topic: str, name: str) -> Any:
    target = messaging.Target(topic=topic, server=name)
    made = messaging.get_rpc_server(of, target, [Answers(f"{topic}.{name}")], executor="threading")
    made.start()
    return made


def client(of: Any, topic: str, **more: Any) -> Any:
    made = messaging.get_rpc_client(of, messaging.Target(topic=topic, version="1.0"))
    return made.prepare(timeout=20, **more)


def there(url: str, queues: list[str]) -> list[str]:
    """Those of them that there are."""
    found = []
    with kombu.Connection(url.replace("rabbit://", "amqp://")) as connection:
        for queue in queues:
            try:
                connection.channel().queue_declare(queue, passive=True)
            except connection.channel_errors:
                continue
            found.append(queue)
    return found


def refused(url: str, what: str, work: Any, why: str = "ACCESS_REFUSED") -> None:
    """A channel's operation that the broker does not let this account do."""
    with kombu.Connection(url.replace("rabbit://", "amqp://")) as connection:
        channel = connection.channel()
        try:
            work(channel)
            # What is published is answered by nothing: whatever is answered next tells.
            channel.basic_qos(0, 1, False)
        except connection.channel_errors as error:
            assert why in str(error), error
            return
    raise AssertionError(f"the host may {what}")


def intrude(url: str) -> dict[str, str]:
    """What a host in the wrong hands makes of what all share; what is taken would be a hole."""
    intruder, kinds = Intruder(url.replace("rabbit://", "amqp://")), {"topic", "fanout"}

    def of(name: str, method: str, *words: Any, **more: Any) -> Any:
        return lambda channel: getattr(channel, method)(name, *words, **more)

    tries: dict[str, Any] = {}
    for exchange, kind in EXCHANGES.items():
        (other,) = kinds - {kind}
        as_it_was = {"durable": False, "auto_delete": kind == "fanout"}
        another = {"durable": False, "auto_delete": False}
        tries |= {
            f"delete {exchange}": of(exchange, "exchange_delete"),
            f"delete unused {exchange}": of(exchange, "exchange_delete", if_unused=True),
            f"make {exchange}": of(exchange, "exchange_declare", kind, **as_it_was),
            f"make another {exchange}": of(exchange, "exchange_declare", other, **another),
        }
    for queue in QUEUES:
        tries |= {
            f"delete {queue}": of(queue, "queue_delete"),
            f"make {queue}": of(queue, "queue_declare", auto_delete=False),
            f"lead away {queue}": of(queue, "queue_unbind", bus.EXCHANGE, queue),
            f"lead to {queue}": of(queue, "queue_bind", bus.EXCHANGE, OWN),
        }
    assert intruder.tries(lambda c: c.basic_qos(0, 1, False), "/") == "taken", "it is not let in"
    return {name: intruder.tries(work, "/") for name, work in tries.items()}


def host(main_url: str, own_url: str, name: str, process: str, folder: str) -> None:
    cfg.CONF([])
    lockutils.set_defaults(folder)
    standing.take_as_it_is(EXCHANGES, QUEUES)
    # Before anybody has connected, and so that nobody is in the way.
    found = intrude(own_url)
    assert set(found.values()) == {"refused"}, found
    # Who has one alone keeps all others from starting: each compute consumes again, for ever.
    for queue in QUEUES:
        for alone in (True, False):
            refused(own_url, f"read {queue}", functools.partial(_reads, queue, alone))
    main, own = transport(main_url, "web2", process), transport(own_url, name, process)
    # Nobody serves it yet.
    client(main, "compute", server=name).cast({}, "note", done="early")
    servers = [
        server(main, "conductor", "head"),
        server(main, "scheduler", "head"),
        server(main, "compute", "web2"),
        server(own, "compute", name),
        server(own, "compute-alt", name),
    ]
    assert EVENT.wait(20), "what was said before it started is lost"
    assert [(f"compute.{name}", "early")] == HEARD
    EVENT.clear()
    # each asks the other, and is answered
    assert client(own, "conductor").call({}, "who") == "conductor.head"
    assert client(main, "compute", server=name).call({}, "who") == f"compute.{name}"
    assert client(main, "compute-alt", server=name).call({}, "who") == f"compute-alt.{name}"
    # to all schedulers, and from somebody to all computes
    client(own, "scheduler", fanout=True).cast({}, "note", done="one")
    assert EVENT.wait(20), "schedulers did not hear it"
    EVENT.clear()
    client(main, "compute", fanout=True).cast({}, "note", done="two")
    assert EVENT.wait(20), "computes did not hear it"
    nova = kombu.Exchange("nova", "topic", passive=True)

    def calls(key: str) -> Any:
        def work(channel: Any) -> None:
            kombu.Producer(channel, nova).publish("x", routing_key=key)

        return work

    # as two that a server moves between
    assert client(own, "compute", server="web2").call({}, "who") == "compute.web2"
    refused(own_url, "call any compute", calls("compute"))
    found = intrude(own_url)
    assert set(found.values()) == {"refused"}, found
    # and it is all there
    assert client(main, "compute", server=name).call({}, "who") == f"compute.{name}"
    EVENT.clear()
    client(main, "compute-alt", fanout=True).cast({}, "note", done="three")
    assert EVENT.wait(20), "computes do not hear any more"
    others = [
        queue
        for kind in ("reply", "compute_fanout")
        for queue in there(main_url, [f"{kind}_web2:{process}:{n}" for n in range(1, 10)])
    ]
    assert len(others) == 2, others
    for queue in ("conductor", "conductor.head", "compute.web2", "scheduler", *others):
        refused(own_url, f"read {queue}", lambda channel, q=queue: channel.basic_get(q))
        refused(own_url, f"empty {queue}", lambda channel, q=queue: channel.queue_purge(q))
        refused(own_url, f"delete {queue}", lambda channel, q=queue: channel.queue_delete(q))
    refused(own_url, "make a queue", lambda channel: channel.queue_declare("own"))
    refused(
        own_url,
        "hear what conductors are told",
        lambda channel: (
            channel.queue_declare(f"compute.{name}", passive=True),
            channel.queue_bind(f"compute.{name}", "nova", "conductor"),
        ),
    )
    refused(
        own_url,
        "hear what another compute is told",
        lambda channel: channel.queue_bind(f"compute.{name}", "nova", "compute.web2"),
    )
    refused(
        own_url,
        "make an exchange",
        lambda channel: channel.exchange_declare("neutron", "topic", durable=False),
    )
    for one in servers:
        one.stop()
    # The last that was bound to them goes: they stay, for those who may not make them.
    with kombu.Connection(main_url.replace("rabbit://", "amqp://")) as connection:
        bound = [
            f"{topic}_fanout_{of}:{process}:{n}"
            for topic in (*bus.TOPICS, "scheduler")
            for of in ("web2", name)
            for n in range(1, 20)
        ]
        for queue in (left := there(main_url, bound)):
            connection.channel().queue_delete(queue)
        assert len(left) == 4, left
    intruder = Intruder(own_url.replace("rabbit://", "amqp://"))
    for exchange, kind in EXCHANGES.items():
        see = functools.partial(_see, exchange, kind)
        seen = intruder.tries(see, "/")
        assert seen == "taken", (exchange, seen)


def _reads(queue: str, alone: bool, channel: Any) -> None:
    channel.basic_consume(queue, exclusive=alone, callback=lambda message: None)


def _see(exchange: str, kind: str, channel: Any) -> None:
    channel.exchange_declare(exchange, kind, passive=True)


class Compute:
    target = messaging.Target(version="1.0")

    def terminate_instance(self, ctxt: dict[str, str]) -> str:
        HEARD.append(("terminate", ""))
        return "gone"

    def pre_live_migration(self, ctxt: dict[str, str]) -> str:
        return "ready"


def guarded(main_url: str, own_url: str, name: str, process: str, folder: str) -> None:
    """A compute of the cloud's, asked by its services and by a host; both as they are made."""
    cfg.CONF([])
    lockutils.set_defaults(folder)
    standing.take_as_it_is(EXCHANGES, QUEUES)
    main, own = transport(main_url, "web2", process), transport(own_url, name, process)
    runtime.admit_only(callers.admits(["openstack"]))
    target = messaging.Target(topic="compute", server="web2")
    served = messaging.get_rpc_server(main, target, [Compute()], executor="threading")
    served.start()
    assert client(main, "compute", server="web2").call({}, "terminate_instance") == "gone"
    HEARD.clear()
    other = client(own, "compute", server="web2")
    assert other.call({}, "pre_live_migration") == "ready"
    try:
        other.prepare(timeout=5).call({}, "terminate_instance")
    except messaging.MessagingTimeout:
        pass
    else:
        raise AssertionError("a host had another's server ended")
    body = {"oslo.version": "2.0", "oslo.message": json.dumps({"method": "terminate_instance"})}

    def says(**more: Any) -> Any:
        """To the queue itself, past nova's exchange."""

        def work(channel: Any) -> None:
            producer = kombu.Producer(channel)
            producer.publish(body, routing_key="compute.web2", serializer="json", **more)

        return work

    refused(own_url, "say that it is another", says(user_id="openstack"), "PRECONDITION_FAILED")
    with kombu.Connection(own_url.replace("rabbit://", "amqp://")) as connection:
        says()(connection.channel())
    # it comes before this, and is not heard
    assert client(main, "compute", server="web2").call({}, "pre_live_migration") == "ready"
    assert not HEARD, HEARD
    served.stop()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
