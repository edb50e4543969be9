"""What stops a verb that puts back, or removes, what it has begun."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def told_to_stop() -> Iterator[None]:
    """A terminal that is lost, or a kill, is as Ctrl-C: what was begun is seen to, by us."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {}
    for number in (signal.SIGHUP, signal.SIGTERM):
        # What a shell had us ignore (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
