"""What the supervisor and its prober say to each other: JSON lines over a socket pair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from onestack.model.codec import from_plain, to_plain
from onestack.model.process import Probe


@dataclass(frozen=True)
class Identify:
    """Be that one, where a token is asked for: `onestack.model.process.Roster.identity`."""

    kind: ClassVar[str] = "identify"
    identity: dict[str, str]


@dataclass(frozen=True)
class Watch:
    kind: ClassVar[str] = "watch"
    name: str
    generation: int
    """Which of its starts it is, for what is found to be told from what was found before."""
    probe: Probe
    born: float
    """Wall-clock time at which the process was started."""
    starting: bool


@dataclass(frozen=True)
class Drop:
    kind: ClassVar[str] = "drop"
    name: str


Order = Identify | Watch | Drop


@dataclass(frozen=True)
class Found:
    name: str
    generation: int
    ok: bool
    text: str
    unreachable: bool


@dataclass(frozen=True)
class _Envelope:
    order: Order


def encode_order(order: Order) -> bytes:
    return _line(_Envelope(order))


def decode_order(line: bytes) -> Order:
    return from_plain(_Envelope, json.loads(line)).order


def encode_found(found: Found) -> bytes:
    return _line(found)


def decode_found(line: bytes) -> Found:
    return from_plain(Found, json.loads(line))


def _line(message: object) -> bytes:
    return json.dumps(to_plain(message)).encode() + b"\n"
