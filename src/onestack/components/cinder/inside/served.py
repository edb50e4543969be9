"""Volumes that servers on other hosts have: what of the pool each host may open (services'
environment).

Written down first, then told to the daemon that serves the host; taken back in the same order.
Whoever is killed in between leaves what the next start of the volume service, or of the daemon,
puts right.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_log import log as logging

from onestack.components.cinder.inside.refusals import NOT_SERVED, Refused
from onestack.storage.exports import Export, Exports
from onestack.storage.nbd import Monitor, NotServed

LOG = logging.getLogger(__name__)
SETTLING = 10.0
"""Seconds for each host, as the volume service starts."""
KIND = "nbd"
"""The kind of connection, as nova knows it."""


@dataclass(frozen=True)
class Place:
    """Who serves a host."""

    identity: str
    address: str
    port: int
    monitor: Path


class Served:
    """``hosts`` is a JSON file, read each time; ``folder`` as `Exports` has it."""

    def __init__(self, hosts: Path, folder: Path) -> None:
        self._hosts = hosts
        self._exports = Exports(folder)
        # Cinder works on several volumes at once, and may on one.
        self._lock = threading.Lock()

    def place(self, host: str | None) -> Place | None:
        """Of the host that is called so; ``None`` for this one, and what is none of the cloud's."""
        return self._places().get(host or "")

    def connection(self, host: str, volume: str, path: Path) -> dict[str, Any]:
        """What nova is told, once it is so. Raises `Refused`."""
        place = self._places()[host]
        with self._lock:
            try:
                export = self._exports.granted(place.identity, host, volume, path)
                with Monitor(place.monitor) as monitor:
                    monitor.serve(export)
            except (OSError, NotServed) as problem:
                LOG.error("The volume %s is not served to %s: %s", volume, host, problem)
                raise Refused(NOT_SERVED, host=host) from problem
        return {
            "driver_volume_type": KIND,
            "data": {
                "name": export.name,
                "hosts": [place.address],
                "ports": [str(place.port)],
                "discard": True,
            },
        }

    def end(self, volume: str, host: str | None = None) -> None:
        """No host may open it any more, or that one; who has it open has it no more.

        Raises `Refused` where a daemon does not do it.
        """
        with self._lock:
            for identity, export in self._exports.of_volume(volume):
                if host is None or export.host == host:
                    # First, so that no daemon that starts meanwhile takes it up.
                    self._exports.forget(identity, volume)
                    try:
                        self._told(identity, export, Monitor.end)
                    except Refused:
                        # It is still attached, and can be asked for again.
                        self._exports.put(identity, export)
                        raise

    def grown(self, volume: str) -> None:
        """Its file is larger: who has it open sees that."""
        with self._lock:
            for identity, export in self._exports.of_volume(volume):
                self._told(identity, export, Monitor.renew)

    def settle(self, used: dict[str, set[str]]) -> None:
        """Nothing but what is attached is served: ``used`` are ids of volumes to hosts' names.

        A kill may have come between a file and the word to the daemon.
        """
        places = self._places()
        known = {place.identity for place in places.values()}
        with self._lock:
            for export in self._exports.forget_others(
                known, lambda export: export.host in used.get(export.volume, ())
            ):
                LOG.warning("No server on %s has %s any more.", export.host, export.volume)
            for host, place in places.items():
                try:
                    with Monitor(place.monitor, SETTLING) as monitor:
                        monitor.keep(self._exports.of_host(place.identity))
                except (OSError, NotServed) as problem:
                    # One that starts later has it from the files.
                    LOG.warning("What is served to %s was not looked at: %s", host, problem)

    def _told(self, identity: str, export: Export, what: Callable[[Monitor, Export], None]) -> None:
        """The daemon of a host; of one that is none any more there is none."""
        place = next((p for p in self._places().values() if p.identity == identity), None)
        if place is None:
            return
        try:
            with Monitor(place.monitor) as monitor:
                what(monitor, export)
        except (OSError, NotServed) as problem:
            LOG.error("The volume %s and %s: %s", export.volume, export.host, problem)
            raise Refused(NOT_SERVED, host=export.host) from problem

    def _places(self) -> dict[str, Place]:
        told = json.loads(self._hosts.read_text())
        return {
            name: Place(one["identity"], told["address"], one["port"], Path(one["monitor"]))
            for name, one in told["hosts"].items()
        }
