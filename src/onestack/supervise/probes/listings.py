"""Listings of agents: one request serves all that ask within its age."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from onestack.supervise.probes.tokens import Tokens

Entry = dict[str, Any]


class Listings:
    """Threads may share it; those that ask for the same one wait for one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, list[Entry]]] = {}

    def get(self, url: str, tokens: Tokens, timeout: float, age: float) -> list[Entry]:
        """The agents at ``url``, as they were at most ``age`` seconds ago.

        Raises `onestack.supervise.probes.base.Wrong` and ``Unreachable``.
        """
        with self._lock:
            lock = self._locks.setdefault(url, threading.Lock())
        with lock:
            known = self._known.get(url)
            if known and time.monotonic() - known[0] < age:
                return known[1]
            entries = entries_of(json.loads(tokens.get(url, timeout)))
            self._known[url] = (time.monotonic(), entries)
            return entries


def entries_of(listing: dict[str, Any]) -> list[Entry]:
    """Neutron calls them agents, all others services."""
    entries: list[Entry] = listing.get("agents", listing.get("services", []))
    return entries
