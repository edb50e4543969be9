"""Run oslo services in this very process (services' environment).

oslo.service's launchers put a master process beside each worker; the
supervisor already is one, so the service objects are started directly.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from onestack.supervise.readiness import tell_ready


def serve(*services: Any) -> None:
    """Start ``services`` (start, stop, wait), and stop them on SIGTERM. Does not return.

    Tells the supervisor when all have started (probe ``notify``).
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    for service in services:
        service.start()
    tell_ready()
    ended.wait()
    for service in services:
        service.stop()
    # Threads of libraries (messaging, database pools) would keep a normal exit waiting.
    os._exit(0)
