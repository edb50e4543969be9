"""An account at one of the cloud's services."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    """A host's own."""

    user: str
    password: str = field(repr=False)
