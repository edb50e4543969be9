"""Imported into warm parents in place of oslo.messaging's driver: its threads look up each second.

An idle listener of upstream's looks up every 5 s, to see whether it is to end: that long
a service took to stop, twice that with two listeners.
"""

from __future__ import annotations

# The driver computes the limit of an option from the number: it is imported before.
from oslo_messaging._drivers import amqpdriver, impl_rabbit  # noqa: F401

amqpdriver.ACK_REQUEUE_EVERY_SECONDS_MAX = 1.0
