"""The supervisor's side of privsep: looks at who asks, forks the daemon, knows those that run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from onestack.kernel import proc
from onestack.model.process import SERVICES, Roster
from onestack.supervise import privsep
from onestack.supervise.child import Child, read_status
from onestack.supervise.control import Connection
from onestack.supervise.loop import Loop, log
from onestack.supervise.protocol import PrivsepStatus
from onestack.supervise.supervised import Supervised

ORPHANED = 2.0
"""Seconds a daemon may outlive the process that asked for it: its socket's end ends it before."""


class Parent(Protocol):
    loop: Loop
    root: Path
    roster: Roster
    processes: dict[str, Supervised]

    def fork(self, child: Child) -> tuple[int, int]: ...

    def when_preloaded(self, call: Callable[[], None]) -> None: ...


@dataclass(frozen=True)
class Running:
    pid: int
    context: str
    user: str
    process: str
    """Whose it is, as far as known."""
    client: int
    """The asking process's session, which is the pid of the cloud's process."""
    since: float


class PrivsepDaemons:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._running: dict[int, Running] = {}

    def listing(self) -> tuple[PrivsepStatus, ...]:
        now = time.monotonic()
        return tuple(
            PrivsepStatus(d.pid, d.context, d.user, d.process, now - d.since)
            for d in self._running.values()
        )

    def refusal(self, peer: privsep.Peer) -> str:
        """Why its user may have no daemon at all; empty if it may have one."""
        if self._parent.roster.privsep.get(peer.user):
            return ""
        why = f"the user {peer.user} may have no context"
        log(f"privsep: pid {peer.pid} of {peer.user} was refused: {why}")
        return why

    def asked(self, connection: Connection, line: bytes) -> None:
        """A helper's request."""
        peer = privsep.peer_of(connection.sock)
        try:
            request = privsep.parse(line)
            privsep.check(request, peer, self._parent.roster.privsep, self._parent.root)
        except privsep.NotAllowed as refused:
            log(f"privsep: pid {peer.pid} of {peer.user} was refused: {refused}")
            connection.send(str(refused))
            connection.end()
            return
        self._parent.when_preloaded(lambda: self._fork(connection, request, peer))

    def _fork(self, connection: Connection, request: privsep.Request, peer: privsep.Peer) -> None:
        if connection.closed:
            return
        session = proc.stat(peer.pid)
        client = session.session if session else 0
        owner = next(
            (p for p in self._parent.processes.values() if client and p.machine.pid == client),
            None,
        )
        name = owner.name if owner else "privsep"
        asking = connection.detach()
        child = Child(
            name=f"{name}/privsep",
            root=self._parent.root,
            log=self._parent.root / "log" / f"{name}.log",
            # its commands (ovs-vsctl) look for the same places as the process's own
            env=dict(owner.spec.env) if owner else {},
            call=partial(privsep.become_daemon, request, peer),
            sockets={"asking": asking},
            title=f"privsep-{name} {request.context} [{self._parent.root}]",
            environment=owner.spec.environment if owner else SERVICES,
            zygote=owner.spec.zygote if owner else "",
        )
        try:
            pid, status = self._parent.fork(child)
        except OSError as error:
            asking.sendall(f"{error.strerror}\n".encode())
            asking.close()
            return
        asking.close()
        self._running[pid] = Running(
            pid, request.context, peer.user, name, client, time.monotonic()
        )

        def gone(code: int) -> None:
            reason = read_status(status)
            del self._running[pid]
            if code or reason:
                log(f"privsep: {request.context} of {name}, pid {pid}, ended ({code}) {reason}")

        self._parent.loop.on_child(pid, gone)

    def client_ended(self, session: int) -> None:
        """A process of the cloud is gone: its daemons must go, too."""
        if any(d.client == session for d in self._running.values()):
            self._parent.loop.later(ORPHANED, lambda: self._end(session))

    def _end(self, session: int) -> None:
        proc.send([d.pid for d in self._running.values() if d.client == session], signal.SIGTERM)
