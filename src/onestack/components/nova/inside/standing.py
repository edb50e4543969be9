"""What is at the bus before nova connects, and is nobody's to make.

oslo.messaging declares all that it uses. Here it takes what stands in the broker's definitions as
it is: of an exchange the broker is asked whether it is there, which wants no right. Of queues that
whoever of several servers is first reads, none is made and none read: nova sends nothing there,
and who may read one may have it for itself, which keeps all others from starting.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import kombu


def take_as_it_is(exchanges: Collection[str], queues: Collection[str]) -> None:
    """From now on, in this process. Where one is not there, whoever wants it fails, and retries."""
    declare, declare_queue = kombu.Exchange.declare, kombu.Queue.declare
    consume = kombu.Queue.consume

    def declared(
        self: Any, nowait: bool = False, passive: bool | None = None, channel: Any = None
    ) -> Any:
        if self.name in exchanges:
            passive = True
        return declare(self, nowait=nowait, passive=passive, channel=channel)

    def queue_declared(self: Any, nowait: bool = False, channel: Any = None) -> Any:
        if self.name in queues:
            return self.name
        return declare_queue(self, nowait=nowait, channel=channel)

    def consumed(self: Any, *given: Any, **more: Any) -> Any:
        if self.name in queues:
            return None
        return consume(self, *given, **more)

    kombu.Exchange.declare, kombu.Queue.declare = declared, queue_declared
    kombu.Queue.consume = consumed
