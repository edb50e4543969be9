"""Imported into zygotes in place of oslo.messaging's driver: its listeners end well.

- An idle listener of upstream's looks up every 5 s, to see whether it is to end: that long
  a service took to stop, twice that with two listeners. Here each second.
- A listener that has stopped still has its connection for a while, and acknowledged what
  came by it, though nobody was to do it any more: a call was lost, and its caller waited a
  minute for nothing. Here it stays unacknowledged, and the broker gives it to the next one.
- What is published says by which account: the broker refuses a word that is not true, and takes
  what says nothing. So whoever listens can tell callers apart (`admit_only`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

# The driver computes the limit of an option from the interval: it is imported before.
from oslo_messaging._drivers import amqpdriver, impl_rabbit

INTERVAL = 1.0
"""Seconds."""

LOG = logging.getLogger("onestack.messaging")
_take = amqpdriver.RpcAMQPListener.__call__
_set_channel = impl_rabbit.Connection._set_current_channel
_admits: Callable[[str, str], bool] | None = None


def admit_only(admits: Callable[[str, str], bool]) -> None:
    """From now on this process takes those calls alone for which it says so.

    It is given the account (empty: unknown) and the method. What is not taken is dropped.
    """
    global _admits
    _admits = admits


def _take_unless_stopped(listener: Any, message: Any) -> None:
    if listener._shutoff.is_set():
        return
    if _admits is not None:
        account = str(message._raw_message.properties.get("user_id") or "")
        method = str(message.get("method") or "")
        if not _admits(account, method):
            message.acknowledge()
            LOG.error("a call by %r is not taken: %s", account or "nobody", method)
            return
    _take(listener, message)


def _set_channel_and_sign(connection: Any, channel: Any) -> None:
    before = connection._producer
    _set_channel(connection, channel)
    if (producer := connection._producer) is not None and producer is not before:
        account = connection.connection.userid
        producer.publish = functools.partial(producer.publish, user_id=account)


amqpdriver.ACK_REQUEUE_EVERY_SECONDS_MAX = INTERVAL
amqpdriver.RpcAMQPListener.__call__ = _take_unless_stopped
impl_rabbit.Connection._set_current_channel = _set_channel_and_sign
