"""What of nova's is at the bus before anybody connects.

What nova's services share where other hosts may join: oslo.messaging makes it whenever it
connects, and who may make something at the broker may delete it. So the broker makes it, and
nova's services take it as it is (`onestack.components.nova.inside.standing`).

And the queues of compute services: what is said to one while it starts waits there. It makes
them itself when it has looked at all its servers, and until then whatever is said is lost.
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


def queues_of(host: str) -> tuple[BusQueue, ...]:
    """Those of the host's compute service, as it declares them."""
    return tuple(BusQueue(f"{topic}.{host}", EXCHANGE, durable=_DURABLE) for topic in TOPICS)
