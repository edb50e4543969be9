"""Imported into zygotes in place of oslo.messaging's driver: its listeners end well.

- An idle listener of upstream's looks up every 5 s, to see whether it is to end: that long
  a service took to stop, twice that with two listeners. Here each second.
- A listener that has stopped still has its connection for a while, and acknowledged what
  came by it, though nobody was to do it any more: a call was lost, and its caller waited a
  minute for nothing. Here it stays unacknowledged, and the broker gives it to the next one.
"""

from __future__ import annotations

from typing import Any

# The driver computes the limit of an option from the interval: it is imported before.
from oslo_messaging._drivers import amqpdriver, impl_rabbit  # noqa: F401

INTERVAL = 1.0
"""Seconds."""

_take = amqpdriver.RpcAMQPListener.__call__


def _take_unless_stopped(listener: Any, message: Any) -> None:
    if not listener._shutoff.is_set():
        _take(listener, message)


amqpdriver.ACK_REQUEUE_EVERY_SECONDS_MAX = INTERVAL
amqpdriver.RpcAMQPListener.__call__ = _take_unless_stopped
