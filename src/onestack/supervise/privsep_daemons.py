"""The supervisor's side of privsep: looks at who asks, forks the daemon, knows those that run."""

from __future__ import annotations

import pickle
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from onestack.supervise import privsep, proc
from onestack.supervise.child import Child, read_status
from onestack.supervise.control import Connection
from onestack.supervise.loop import Loop, log
from onestack.supervise.spec import Roster
from onestack.supervise.supervised import Supervised

ORPHANED = 2.0
"""Seconds a daemon may outlive the process that asked for it: its socket's end ends it before."""


class Parent(Protocol):
    loop: Loop
    root: Path
    roster: Roster
    processes: dict[str, Supervised]

    def fork(self, child: Child, family: str = "") -> tuple[int, int]: ...

    def when_warm(self, call: Callable[[], None]) -> None: ...


@dataclass(frozen=True)
class Running:
    pid: int
    contexts: tuple[str, ...]
    """All that were asked for, whether still open or not."""
    user: str
    process: str
    """Whose it is, as far as known."""
    client: int
    """The asking process's session, which is the pid of the cloud's process."""
    config: tuple[str, ...]
    more: socket.socket
    since: float


class PrivsepDaemons:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._running: dict[int, Running] = {}

    def listing(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        return [
            {
                "pid": d.pid,
                "context": ", ".join(d.contexts),
                "user": d.user,
                "process": d.process,
                "since": now - d.since,
            }
            for d in self._running.values()
        ]

    def asked(self, connection: Connection, line: bytes) -> None:
        """A helper's request."""
        peer = privsep.peer_of(connection.sock)
        try:
            request = privsep.parse(line)
            privsep.check(request, peer, self._parent.roster.privsep, self._parent.root)
        except privsep.Refused as refused:
            log(f"privsep: pid {peer.pid} of {peer.user} was refused: {refused}")
            connection.send(str(refused))
            connection.end()
            return
        self._parent.when_warm(lambda: self._fork(connection, request, peer))

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
        if owner and self._join(client, asking, request, peer):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        child = Child(
            name=f"{name}/privsep",
            root=self._parent.root,
            log=self._parent.root / "log" / f"{name}.log",
            # its commands (ovs-vsctl) look for the same places as the process's own
            env=dict(owner.spec.env) if owner else {},
            call=partial(privsep.become_daemons, request, peer),
            sockets={"asking": asking, "more": theirs},
            title=f"privsep-{name} [{self._parent.root}]",
        )
        try:
            pid, status = self._parent.fork(child, owner.spec.family if owner else "")
        except OSError as error:
            asking.sendall(f"{error.strerror}\n".encode())
            ours.close()
            return
        finally:
            asking.close()
            theirs.close()
        self._running[pid] = Running(
            pid,
            (request.context,),
            peer.user,
            name,
            client,
            request.config,
            ours,
            time.monotonic(),
        )

        def gone(code: int) -> None:
            reason = read_status(status)
            ended = self._running.pop(pid)
            ended.more.close()
            if code or reason:
                contexts = ", ".join(ended.contexts)
                log(f"privsep: {contexts} of {name}, pid {pid}, ended ({code}) {reason}")

        self._parent.loop.on_child(pid, gone)

    def _join(
        self,
        client: int,
        asking: socket.socket,
        request: privsep.Request,
        peer: privsep.Peer,
    ) -> bool:
        """Have the client's daemon of other contexts serve this one too, if there is one."""
        for pid, running in self._running.items():
            if (running.client, running.user, running.config) == (
                client,
                peer.user,
                request.config,
            ):
                message = pickle.dumps((request, peer))
                try:
                    socket.send_fds(running.more, [message], [asking.fileno()])
                except OSError:  # it ends, or does not listen: a new one is made
                    continue
                asking.close()
                contexts = dict.fromkeys((*running.contexts, request.context))
                self._running[pid] = replace(running, contexts=tuple(contexts))
                return True
        return False

    def client_ended(self, session: int) -> None:
        """A process of the cloud is gone: its daemons must go, too."""
        if any(d.client == session for d in self._running.values()):
            self._parent.loop.later(ORPHANED, lambda: self._end(session))

    def _end(self, session: int) -> None:
        proc.send([d.pid for d in self._running.values() if d.client == session], signal.SIGTERM)
