"""``agent``: a listing shows that the services of a process are alive on this host."""

from __future__ import annotations

from datetime import UTC, datetime

from onestack.model.process import AgentProbe
from onestack.supervise.probes.api import without_token
from onestack.supervise.probes.base import Wrong
from onestack.supervise.probes.listings import Entry, Listings
from onestack.supervise.probes.tokens import Tokens


def attempt(
    probe: AgentProbe, tokens: Tokens, listings: Listings, timeout: float, age: float, born: float
) -> str:
    """What is to be known about it. The listing may be ``age`` seconds old."""
    if missing := tokens.missing():
        return without_token(probe.listing, missing, timeout)
    entries = listings.get(probe.listing, tokens, timeout, age)
    for binary in probe.binaries:
        judge(entries, binary, tokens.host, born if probe.fresh else 0.0)
    return ""


def judge(entries: list[Entry], wanted: str, host: str, born: float) -> None:
    """Raises `Wrong` unless that agent of ``host`` is alive and was heard of since ``born``.

    ``wanted`` is ``BINARY`` or ``BINARY@BACKEND``. Neutron says ``alive`` and
    ``heartbeat_timestamp``; nova, cinder and heat ``state`` (or ``status``) and
    ``updated_at``, cinder with a host ``HOST@BACKEND``.
    """
    binary, _, backend = wanted.partition("@")
    own = [
        e
        for e in entries
        if e.get("binary") == binary
        and (
            str(e.get("host", "")) == f"{host}@{backend}"
            if backend
            else str(e.get("host", "")).split("@")[0] == host
        )
    ]
    if not own:
        raise Wrong(f"{wanted} on {host} is not listed yet")
    for entry in own:
        alive = entry.get("alive", entry.get("state", entry.get("status")))
        if alive not in (True, "up"):
            raise Wrong(f"{wanted} on {entry['host']} is listed as not alive")
        heard = entry.get("heartbeat_timestamp") or entry.get("updated_at")
        # Databases cut off fractions: heard of at 6.9 is kept as 6. (In that one second
        # a report of the predecessor counts; some agents report once in 30.)
        if heard and _seconds(heard) < int(born):
            raise Wrong(f"{wanted} was last heard of at {heard}, before it was started")


def _seconds(stamp: str) -> float:
    """An API's time, UTC unless it says otherwise, to seconds since the epoch."""
    moment = datetime.fromisoformat(stamp.strip().replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
