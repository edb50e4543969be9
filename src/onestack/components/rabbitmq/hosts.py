"""What a host that has joined may do at the bus: what its compute service does, and little more.

As oslo.messaging names things (18.3, its rabbit driver): a topic has a queue of its name, another
for each server of it (``TOPIC.HOST``), and an exchange ``TOPIC_fanout`` for all of them; what is
answered comes to a queue ``reply_ID`` by the default exchange. Nova's topics are in one exchange.
On a host the ``ID`` of its queues begins with its name (``use_queue_manager``).

It makes what is its own. What it shares with others (`onestack.components.bus`) the broker has
made: who may declare something may delete it, too.

What cannot be had: what the default exchange leads to cannot be limited by the broker: a host may
put a message into any queue whose name it knows. It reads none but its own: one that it shared it
could have for itself, and no other compute would start (`nova.inside.standing`). That it may call
another compute by nova's exchange, too, opens nothing.
"""

from __future__ import annotations

import re

from onestack.components import bus
from onestack.components.openstack import HOSTS_PROCESS
from onestack.model.declarations import BusAccount, TopicPermission
from onestack.model.host import Member

TOLD = r"(conductor|scheduler)"
"""Topics that a compute service calls."""
OTHERS = r"compute(-alt)?\.."
"""Begins those of one other compute: two settle between them how a server moves, and one that was
away asks what became of servers that were made anew elsewhere."""


def account(member: Member, vhost: str) -> BusAccount:
    """The host's."""
    own, name = member.accounts["messaging"], re.escape(member.name)
    its = rf"{name}:{HOSTS_PROCESS}:[0-9]+"
    queues = rf"compute(-alt)?(\.{name}|_fanout_{its})|reply_{its}"
    heard = rf"{bus.EXCHANGE}|compute(-alt)?_fanout"
    return BusAccount(
        own.user,
        "",
        vhost,
        configure=rf"^({queues})$",
        write=rf"^({queues}|{bus.EXCHANGE}|scheduler_fanout|amq\.default)$",
        read=rf"^({queues}|{heard})$",
        topics=(
            TopicPermission(
                bus.EXCHANGE,
                write=rf"^({TOLD}(\.|$)|{OTHERS})",
                read=rf"^compute(-alt)?\.{name}$",
            ),
        ),
    )
