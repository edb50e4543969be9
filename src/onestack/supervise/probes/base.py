"""What trying a probe comes to."""

from __future__ import annotations

from dataclasses import dataclass


class Unreachable(Exception):
    """Nobody accepts the connection."""


class Wrong(Exception):
    """There is an answer, and it is not the one hoped for."""


@dataclass(frozen=True)
class ProbeResult:
    ok: bool
    text: str = ""
    """Why not; or, when ok, what is to be known about it."""
    unreachable: bool = False
