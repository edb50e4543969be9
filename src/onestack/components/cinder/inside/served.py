"""Volumes that servers on other hosts have: what of the pool each host may open (services'
environment).

Written down first, then told to the daemon that serves the host; taken back in the same order.
Whoever is killed in between leaves what the next start of the volume service, or of the daemon,
puts right; what is left otherwise, `Served.look_after`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_log import log as logging

from onestack.components.cinder.inside.refusals import NOT_SERVED, Refused
from onestack.storage.exports import Export, Exports
from onestack.storage.nbd import Monitor, NotServed, greeted

LOG = logging.getLogger(__name__)
SETTLING = 10.0
"""Seconds for each host, as the volume service starts, and when it looks after them."""
BEGUN = 300.0
"""Seconds for which a volume may be served that is attached to nothing: cinder writes that down
after it was told of the connection."""
GREETING = 5.0
"""Seconds that a daemon has to greet."""
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
            before = dict(self._exports.of_volume(volume)).get(place.identity)
            try:
                export = self._exports.granted(place.identity, host, volume, path)
                with Monitor(place.monitor) as monitor:
                    monitor.serve(export)
            except (OSError, NotServed) as problem:
                LOG.error("The volume %s is not served to %s: %s", volume, host, problem)
                # Nobody ends what was not attached: cinder asks no driver to.
                if before is None:
                    self._exports.forget(place.identity, volume)
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

        Raises `Refused` where a daemon serves on and does not do it. One that does not serve is
        not waited for: it has no volume open, and when it is there it takes up what there is then.
        """
        with self._lock:
            for identity, export in self._exports.of_volume(volume):
                if host is None or export.host == host:
                    # First, so that no daemon that starts meanwhile takes it up.
                    self._exports.forget(identity, volume)
                    try:
                        self._told(identity, export, Monitor.end)
                    except Refused:
                        if not self._serves(identity):
                            LOG.warning("Nobody serves %s now.", export.host)
                            continue
                        # It is still attached, and can be asked for again.
                        self._exports.put(identity, export)
                        raise

    def grown(self, volume: str) -> None:
        """Its file is larger: who has it open sees that."""
        with self._lock:
            for identity, export in self._exports.of_volume(volume):
                # A daemon that is not there has it seen when it is: the volume has grown all the
                # same. What it did not do is in the log.
                with contextlib.suppress(Refused):
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
                _left(export)
        self._keep(places)

    def look_after(self, attached: Callable[[str], Container[str]]) -> None:
        """The same from time to time: ``attached`` has the ids of a host's volumes.

        Two servers on one host that give up a volume at once count each other, and it stays; and
        a daemon that did not answer may have done what was given up, or not what was asked.
        """
        with self._lock:
            old = self._exports.older(BEGUN)
            used = {host: attached(host) for host in {export.host for _, export in old}}
            for identity, export in old:
                if export.volume not in used[export.host]:
                    _left(export)
                    self._exports.forget(identity, export.volume)
        self._keep(self._places())

    def _keep(self, places: dict[str, Place]) -> None:
        """Each daemon serves what the files say."""
        for host, place in places.items():
            try:
                with self._lock, Monitor(place.monitor, SETTLING) as monitor:
                    monitor.keep(self._exports.of_host(place.identity))
            except (OSError, NotServed) as problem:
                # One that starts later has it from the files.
                LOG.warning("What is served to %s was not looked at: %s", host, problem)

    def _serves(self, identity: str) -> bool:
        """Whether the host's daemon does. One that is there and busy does, too."""
        place = next(p for p in self._places().values() if p.identity == identity)
        try:
            greeted(place.address, place.port, GREETING)
        except OSError:
            return False
        return True

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


def _left(export: Export) -> None:
    LOG.warning("No server on %s has %s any more.", export.host, export.volume)
