"""A note on what the calling thread is doing, for whoever follows the run; else for nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable

Listener = Callable[[str], None]
_here = threading.local()


def tell(sentence: str) -> None:
    listener: Listener | None = getattr(_here, "listener", None)
    if listener is not None:
        listener(sentence)


def listen(listener: Listener | None) -> Listener | None:
    """Have ``listener`` told of this thread from now on; returns who was before."""
    before: Listener | None = getattr(_here, "listener", None)
    _here.listener = listener
    return before
