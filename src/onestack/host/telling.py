"""A note on what the calling thread is doing, for whoever follows the run; else for nobody."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

Listener = Callable[[str], None]
_LISTENER: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("told", default=None)


def tell(sentence: str) -> None:
    if (listener := _LISTENER.get()) is not None:
        listener(sentence)


def listen(listener: Listener | None) -> Listener | None:
    """Have ``listener`` told of this thread from now on; returns who was before."""
    before = _LISTENER.get()
    _LISTENER.set(listener)
    return before
