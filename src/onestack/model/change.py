"""One thing that is missing on the host, how to make it, and what undoes it again.

Functions that look at the world yield changes; the plan's runner applies
them, or in a dry run only prints them. Nothing yielded means: as wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Undo = Callable[[dict[str, Any]], None]
"""Of one kind of entries in the ledger, given an entry's data: idempotent, and content when all
is gone already. Raises `onestack.model.errors.OnestackError`."""


@dataclass(frozen=True)
class Change:
    """``what`` is a sentence for people, ``do`` makes it true (and may be repeated).

    What ``do`` returns counts for nothing.
    """

    what: str
    do: Callable[[], object]
