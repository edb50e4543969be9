"""Upstream's background workers, each started when it is due, for one pass (services' env).

Upstream has a process for each, asleep for nearly all of its life, that forks
further ones to work. Here the one process that waits is small, and each pass is
a child of it that runs upstream's own ``once`` mode and ends: nothing of a pass
stays in memory, none disturbs another, and one that fails is tried at the next turn.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

WORKERS = {
    "object-updater": "swift.obj.updater:ObjectUpdater",
    "container-updater": "swift.container.updater:ContainerUpdater",
    "object-expirer": "swift.obj.expirer:ObjectExpirer",
    "object-replicator": "swift.obj.replicator:ObjectReplicator",
    "container-replicator": "swift.container.replicator:ContainerReplicator",
    "account-replicator": "swift.account.replicator:AccountReplicator",
    "account-reaper": "swift.account.reaper:AccountReaper",
    "object-auditor": "swift.obj.auditor:ObjectAuditor",
    "container-auditor": "swift.container.auditor:ContainerAuditor",
    "account-auditor": "swift.account.auditor:AccountAuditor",
}
"""Each also the name of its section in the server's file."""

FIRST = 20.0
"""Seconds from the start to the first pass; the others follow one by one."""
APART = 3.0
STOP = 4.5
"""Seconds for passes that run when the end is wanted."""

LOG = logging.getLogger("swift-upkeep")


class Upkeep:
    """``configs`` maps a server (``object``) to its file, ``seconds`` a worker to its interval."""

    def __init__(self, configs: dict[str, str], seconds: dict[str, float]) -> None:
        self._configs, self._seconds = configs, seconds
        now = time.monotonic()
        self._due = {name: now + FIRST + APART * place for place, name in enumerate(seconds)}
        self._running: dict[int, str] = {}

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM. Does not return."""
        wanted = {signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
        ready()
        while True:
            self._start_what_is_due()
            pause = max(0.0, min(self._due.values()) - time.monotonic())
            heard = signal.sigtimedwait(wanted, pause)
            if heard and heard.si_signo == signal.SIGTERM:
                break
            self._reap()
        self._stop(wanted)
        os._exit(0)

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for name, due in self._due.items():
            if due <= now:
                self._due[name] = now + self._seconds[name]
                if name not in self._running.values():
                    self._running[self._fork(name)] = name

    def _fork(self, name: str) -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                once(name, self._configs[name.partition("-")[0]])
                code = 0
            except SystemExit as end:
                # children of a pass come through here too
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                LOG.exception("%s failed", name)
            finally:
                os._exit(code)
        return pid

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._running.pop(pid, "")
            if name and status:
                LOG.error("%s ended with %s", name, os.waitstatus_to_exitcode(status))

    def _stop(self, wanted: set[signal.Signals]) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + STOP
        while self._running and (left := until - time.monotonic()) > 0:
            signal.sigtimedwait(wanted, left)
            while self._running:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._running.pop(pid, "")


def once(name: str, config: str) -> None:
    """One pass of the worker ``name``, by upstream's own way to run it."""
    from swift.common.daemon import run_daemon

    module, _, attribute = WORKERS[name].partition(":")
    worker: Any = getattr(importlib.import_module(module), attribute)
    run_daemon(worker, config, section_name=name, once=True)
