"""What systemd is told: how many processes are ready, once that all are, and signs of life."""

from __future__ import annotations

from collections.abc import Iterable

from onestack.supervise.loop import Loop, log
from onestack.supervise.states import State
from onestack.supervise.supervised import Supervised
from onestack.supervise.systemd import Notifier


class Announcer:
    def __init__(self, loop: Loop, notifier: Notifier) -> None:
        self._loop = loop
        self._notifier = notifier
        self._told = ""
        self._ready = False
        self._alive = False

    def tell(self, processes: Iterable[Supervised]) -> None:
        """How it is with them, if that is news."""
        known = list(processes)
        # Also those that up has yet to start: the cloud is not there before.
        others = [p for p in known if p.state is not State.READY]
        status = f"{len(known) - len(others)} of {len(known)} processes ready"
        if others:
            status += f"; {others[0].name}: {others[0].sentence()}"
        if status == self._told:
            return
        self._told = status
        words = [f"STATUS={status}"]
        if known and not others and not self._ready:
            self._ready = True
            words.insert(0, "READY=1")
            log(f"all {len(known)} processes are ready")
        self._notifier.say(*words)
        if self._ready and self._notifier.watchdog and not self._alive:
            # The first one has systemd expect more, and imports may take a minute until now.
            self._alive = True
            self._sign_of_life()

    def tell_ending(self) -> None:
        self._notifier.say("STOPPING=1")

    def _sign_of_life(self) -> None:
        self._notifier.say("WATCHDOG=1")
        self._loop.later(self._notifier.watchdog, self._sign_of_life)
