"""Further warm parents: what the processes of one project share, and no other may have.

A family's parent is a child of the supervisor, forked when that is warm; or,
for a family *apart*, a program of its own that shares nothing with it. On
request it forks a middle child, which forks the wanted one and ends: the
wanted one, an orphan, falls to the supervisor (a subreaper), is its child like
any other, and knows nothing of where it came from.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onestack.kernel import linux, proc
from onestack.supervise.child import Child, Fork, become, read_status
from onestack.supervise.loop import READ, Loop, log
from onestack.supervise.warm import Warmer

PATIENCE = 10.0
"""Seconds for a fork. The supervisor waits for it: it takes a few milliseconds."""
MOST_SOCKETS = 32
LARGEST = 1024 * 1024


class Family:
    """The supervisor's end."""

    def __init__(
        self,
        name: str,
        modules: tuple[str, ...],
        loop: Loop,
        root: Path,
        fork: Fork,
        warm: Callable[[], None],
        apart: bool = False,
    ) -> None:
        self.name, self.modules, self.apart = name, modules, apart
        self._loop, self._root, self._fork, self._warm = loop, root, fork, warm
        self._channel: socket.socket | None = None
        self._pid = 0
        self.done = False
        self.ended = False
        self.facts: dict[str, Any] = {"sentence": "not started", "seconds": 0.0, "problems": []}

    def start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child(
            name=f"onestack-warm-{self.name}",
            root=self._root,
            log=self._root / "log" / "supervisor.log",
            call=partial(serve, self.modules),
            sockets={"channel": theirs},
            title=f"onestack-warm-{self.name} [{self._root}]",
        )
        if self.apart:
            path = os.environ.get("PYTHONPATH", "")
            words = (sys.executable, "-m", __name__, child.title, *self.modules)
            child = replace(child, argv=words, env={"PYTHONPATH": path})
        self._pid, status = self._fork(child)
        theirs.close()
        self._channel = ours
        self._loop.watch(ours, READ, self._heard)

        def gone(code: int) -> None:
            reason = read_status(status)
            self._close()
            if not self.ended:
                log(f"the warm parent {self.name} ended ({code}) {reason}; it is started again")
                self._loop.later(1.0, self._restart)

        self._loop.on_child(self._pid, gone)

    def _restart(self) -> None:
        if not self.ended:
            self.start()

    def end(self) -> None:
        """End it, and wait until it has ended; what it forked goes on."""
        self.ended = True
        self._loop.kill(self._pid)
        self._close()

    def _close(self) -> None:
        self.done = False
        if self._channel:
            self._loop.unwatch(self._channel)
            self._channel.close()
            self._channel = None

    def _heard(self, events: int) -> None:
        """It is warm. Afterwards it only speaks when asked."""
        assert self._channel
        data = self._channel.recv(65536)
        self._loop.unwatch(self._channel)
        if not data:
            return
        self.facts = json.loads(data)
        self.done = True
        log(f"warm parent {self.name}: {self.facts['sentence']}")
        self._warm()

    def fork(self, child: Child) -> tuple[int, int]:
        """As `child.fork`, from that parent."""
        if not self._channel or not self.done:
            raise OSError(0, f"its warm parent {self.name} is not there")
        status_in, status_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            names = tuple(child.sockets)
            message = pickle.dumps((replace(child, sockets={}), names))
            descriptors = [status_out, *(s.fileno() for s in child.sockets.values())]
            self._channel.settimeout(PATIENCE)
            socket.send_fds(self._channel, [message], descriptors)
            answer = self._channel.recv(64)
            if not answer.isdigit():
                raise OSError(0, f"its warm parent {self.name} cannot fork")
        except OSError as error:
            os.close(status_in)
            proc.send([self._pid], signal.SIGKILL)  # a new one is started
            raise OSError(error.errno or 0, error.strerror or str(error)) from None
        finally:
            os.close(status_out)
        return int(answer), status_in


def serve(modules: tuple[str, ...], sockets: dict[str, socket.socket]) -> int:
    """The family's parent: import, say so, then fork what is asked for, until the end."""
    channel = sockets["channel"]
    warmer = Warmer(modules)
    while warmer.step():
        pass
    facts = {
        "sentence": warmer.sentence,
        "seconds": warmer.seconds,
        "problems": warmer.problems,
    }
    channel.sendall(json.dumps(facts).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, LARGEST, MOST_SOCKETS)
        if not message:
            return 0
        middle = os.fork()
        if middle == 0:
            _middle(channel, message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(middle, 0)
        if status != 0:
            channel.sendall(b"failed")


def _middle(channel: socket.socket, message: bytes, descriptors: list[int]) -> None:
    """Fork the wanted child, tell its pid, and leave it to the supervisor. Does not return."""
    code = 1
    with contextlib.suppress(Exception):
        child, names = pickle.loads(message)
        status, *others = descriptors
        taken = {name: socket.socket(fileno=fd) for name, fd in zip(names, others, strict=True)}
        for descriptor in (status, *others):
            os.set_inheritable(descriptor, False)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            become(replace(child, sockets=taken), channel.close, status)
        channel.sendall(str(pid).encode())
        code = 0
    os._exit(code)


def main(title: str, *modules: str) -> None:
    """``python -m onestack.supervise.family TITLE MODULE…``: the parent of a family apart."""
    linux.set_title(title)
    # sd_listen_fds(3): the first that is passed on
    channel = socket.socket(fileno=3)
    channel.set_inheritable(False)
    serve(modules, {"channel": channel})


if __name__ == "__main__":
    main(*sys.argv[1:])
