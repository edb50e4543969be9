"""What nova's services share at the bus, where other hosts may join.

oslo.messaging makes it whenever it connects, and who may make something at the broker may delete
it. So the broker makes these itself, before anybody connects, and nova's services take them as
they are (`onestack.components.nova.inside.standing`).
"""

from __future__ import annotations

from onestack.components.openstack import QUEUES as KIND
from onestack.model.declarations import BusExchange, BusQueue

EXCHANGE = "nova"
"""Of all of nova's topics (``control_exchange``)."""
TOPICS = ("compute", "compute-alt")
"""Those of which a compute service is a server."""

_DURABLE = bool(KIND["amqp_durable_queues"])
EXCHANGES = (
    BusExchange(EXCHANGE, durable=_DURABLE),
    *(BusExchange(f"{t}_fanout", durable=False, kind="fanout") for t in (*TOPICS, "scheduler")),
)
QUEUES = tuple(BusQueue(topic, EXCHANGE, durable=_DURABLE) for topic in TOPICS)
"""Of whatever server takes a message first; nova sends none there, and none reads them here."""
