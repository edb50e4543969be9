"""One thing that is missing on the host, and how to make it.

Functions that look at the world yield changes; the plan's runner applies
them, or in a dry run only prints them. Nothing yielded means: as wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """``what`` is a sentence for people, ``do`` makes it true (and may be repeated)."""

    what: str
    do: Callable[[], None]
