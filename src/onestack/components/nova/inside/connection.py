"""What the compute service does when libvirtd is restarted, and when it ends itself."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any


def reconnect_at_once(host: Any) -> None:
    """Let nova's libvirt ``host`` connect again as soon as its connection is lost.

    Then nova disables the compute service, and enables it when its next question
    connects again: a periodic one may be a minute away, and until then no guest finds a
    host. The socket stays open meanwhile, so this one waits for libvirtd.
    """
    from libvirt import libvirtError
    from nova.exception import HypervisorUnavailable

    tell = host._conn_event_handler

    def changed(enabled: bool, reason: str | None) -> None:
        # A connection that is lost again meanwhile is told of again.
        with suppress(libvirtError):
            tell(enabled, reason)
        if not enabled:
            with suppress(HypervisorUnavailable):  # which has been logged
                host.get_connection()
                # It may be that another has connected again, and told so, before we were told.
                tell(True, None)

    host._conn_event_handler = changed


def end_events(host: Any) -> None:
    """End the thread that handles lost connections: nova's end waits for it, and it has none."""
    host._conn_event_handler_queue.put(sys.exit)
