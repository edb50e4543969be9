"""The supervisor's end of the prober: starts it, keeps it, hears what it finds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from onestack.supervise.child import Child, Fork, read_status
from onestack.supervise.control import Connection
from onestack.supervise.loop import Loop, log
from onestack.supervise.probes import orders
from onestack.supervise.states import State
from onestack.supervise.supervised import Supervised

Probed = Callable[[orders.Found], None]


def run_prober(sockets: dict[str, socket.socket]) -> int:
    """In the child."""
    from onestack.supervise.prober import Prober

    return Prober(sockets["channel"]).run()


class ProberLink:
    def __init__(self, loop: Loop, root: Path, fork: Fork, probed: Probed) -> None:
        self._loop, self._root, self._fork, self._probed = loop, root, fork, probed
        self._connection: Connection | None = None
        self._watched: dict[str, Supervised] = {}
        self._identity: dict[str, str] = {}
        self._pid = 0
        self._stopped = False

    def start(self) -> None:
        ours, theirs = socket.socketpair()

        child = Child(
            name="onestack-prober",
            root=self._root,
            log=self._root / "log" / "supervisor.log",
            call=run_prober,
            sockets={"channel": theirs},
            title=f"onestack-prober [{self._root}]",
        )
        self._pid, status = self._fork(child)
        theirs.close()
        self._connection = Connection(self._loop, ours, self._heard, orders.encode_order)

        def gone(code: int) -> None:
            reason = read_status(status)
            if self._connection:
                self._connection.close()
            if not self._stopped:
                log(f"the prober ended ({code}) {reason}; it is started again")
                self._loop.later(1.0, self._restart)

        self._loop.on_child(self._pid, gone)

    def _restart(self) -> None:
        if self._stopped:
            return
        self.start()
        self.identity(self._identity)
        for process in list(self._watched.values()):
            self.watch(process)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._stopped = True
        self._loop.kill(self._pid)

    def identity(self, identity: dict[str, str]) -> None:
        self._identity = identity
        self._send(orders.Identify(identity))

    def watch(self, process: Supervised) -> None:
        self._watched[process.name] = process
        assert process.spec.probe
        starting = process.state is State.STARTING
        self._send(
            orders.Watch(
                process.name, process.generation, process.spec.probe, process.born, starting
            )
        )

    def drop(self, name: str) -> None:
        if self._watched.pop(name, None):
            self._send(orders.Drop(name))

    def _send(self, order: orders.Order) -> None:
        if self._connection:
            self._connection.send(order)

    def _heard(self, connection: Connection, line: bytes) -> None:
        self._probed(orders.decode_found(line))
