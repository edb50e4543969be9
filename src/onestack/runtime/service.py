"""Run oslo services in this very process (services' environment).

oslo.service's launchers put a master process beside each worker; the
supervisor already is one, so the service objects are started directly.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from onestack.runtime.notify import tell_ready

STOP = 5.0
"""Seconds that services get to end what they do. Some of upstream's wait for ever then."""

LOG = logging.getLogger("onestack.service")


def serve(*services: Any, timeout: float = STOP) -> None:
    """Start ``services`` (start, stop), and stop them on SIGTERM. Does not return.

    They get ``timeout`` seconds to end. Tells the supervisor when all have started
    (probe ``notify``).
    """
    ended = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, asked)
    for service in services:
        service.start()
    # some of upstream set a handler of their own meanwhile
    signal.signal(signal.SIGTERM, asked)
    tell_ready()
    ended.wait()
    end(*services, timeout=timeout)
    # Threads of libraries (messaging, database pools) would keep a normal exit waiting.
    os._exit(0)


class Worker:
    """A service of cotyledon's, which upstream runs as a worker with a master process beside."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def start(self) -> None:
        self._worker.run()

    def stop(self) -> None:
        self._worker.terminate()


def end(*services: Any, timeout: float = STOP) -> None:
    """All at once, and not for ever."""
    deadline = time.monotonic() + timeout
    stopping = [threading.Thread(target=one.stop, daemon=True) for one in services]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in stopping):
        LOG.info("What did not end within %s s is cut off", timeout)
