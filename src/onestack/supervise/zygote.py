"""Zygotes besides the supervisor: what the processes of one project share, and no other may have.

A zygote is a child of the supervisor, forked when that has imported its own modules;
an *isolated* one is a program that shares nothing with it. On request it forks a middle
child, which forks the wanted one and ends: the wanted one, an orphan, falls to the
supervisor (a subreaper), is its child like any other, and knows nothing of where it
came from.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from onestack.kernel import linux, proc
from onestack.model.codec import from_plain, to_plain
from onestack.model.process import SERVICES, ZygoteSpec
from onestack.supervise.child import Child, Fork, become, read_status
from onestack.supervise.loop import READ, Loop, log
from onestack.supervise.preload import Preloader
from onestack.supervise.protocol import PreloadStatus
from onestack.supervise.systemd import ENVIRONMENT

FORK_TIMEOUT = 10.0
"""Seconds for a fork. The supervisor waits for it: it takes a few milliseconds."""
MOST_SOCKETS = 32
LARGEST = 1024 * 1024
LONGEST_ANSWER = 1000
"""Bytes of the pid, or of why there is none."""


class Zygote:
    """The supervisor's end."""

    def __init__(
        self,
        name: str,
        spec: ZygoteSpec,
        python: str,
        loop: Loop,
        root: Path,
        fork: Fork,
        ready: Callable[[], None],
    ) -> None:
        """``python`` is the interpreter of its environment; ``ready`` is called when it is."""
        self.name, self.spec, self.python = name, spec, python
        self._loop, self._root, self._fork, self._ready = loop, root, fork, ready
        self._channel: socket.socket | None = None
        self._pid = 0
        self.done = False
        self.ended = False
        self.status = PreloadStatus()

    def start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child(
            name=f"onestack-zygote-{self.name}",
            root=self._root,
            log=self._root / "log" / "supervisor.log",
            call=partial(serve, self.spec.modules),
            sockets={"channel": theirs},
            title=f"zygote-{self.name} [{self._root}]",
        )
        if self.spec.isolated or self.spec.environment != SERVICES:
            path = os.environ.get("PYTHONPATH", "")
            words = (self.python, "-m", __name__, child.title, *self.spec.modules)
            child = replace(child, argv=words, env=ENVIRONMENT | {"PYTHONPATH": path})
        self._pid, status = self._fork(child)
        theirs.close()
        self._channel = ours
        self._loop.watch(ours, READ, self._heard)

        def gone(code: int) -> None:
            reason = read_status(status)
            self._close()
            if not self.ended:
                log(f"the zygote {self.name} ended ({code}) {reason}; it is started again")
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
        """Its modules are imported. Afterwards it only speaks when asked."""
        assert self._channel
        data = self._channel.recv(65536)
        self._loop.unwatch(self._channel)
        if not data:
            return
        self.status = from_plain(PreloadStatus, json.loads(data))
        self.done = True
        log(f"zygote {self.name}: {self.status.sentence}")
        self._ready()

    def fork(self, child: Child) -> tuple[int, int]:
        """As `child.fork`, from that one."""
        if not self._channel or not self.done:
            raise OSError(0, f"its zygote {self.name} is not there")
        status_in, status_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            names = tuple(child.sockets)
            message = pickle.dumps((replace(child, sockets={}), names))
            descriptors = [status_out, *(s.fileno() for s in child.sockets.values())]
            self._channel.settimeout(FORK_TIMEOUT)
            socket.send_fds(self._channel, [message], descriptors)
            answer = self._channel.recv(LONGEST_ANSWER)
            if not answer.isdigit():
                why = answer.decode(errors="replace") or "it has ended"
                raise OSError(0, f"its zygote {self.name} cannot fork: {why}")
        except OSError as error:
            os.close(status_in)
            proc.send([self._pid], signal.SIGKILL)  # a new one is started
            raise OSError(error.errno or 0, error.strerror or str(error)) from None
        finally:
            os.close(status_out)
        return int(answer), status_in


def serve(modules: tuple[str, ...], sockets: dict[str, socket.socket]) -> int:
    """The zygote itself: import, say so, then fork what is asked for, until the end."""
    channel = sockets["channel"]
    preloader = Preloader(modules)
    while preloader.step():
        pass
    channel.sendall(json.dumps(to_plain(preloader.status())).encode())
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
            ended = os.waitstatus_to_exitcode(status)
            channel.sendall(f"its middle child ended with {ended}".encode())


def _middle(channel: socket.socket, message: bytes, descriptors: list[int]) -> None:
    """Fork the wanted child, tell its pid, and leave it to the supervisor. Does not return.

    Or tell why there is none.
    """
    code = 1
    try:
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
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        channel.sendall(f"{type(error).__name__}: {error}".encode()[:LONGEST_ANSWER])
        code = 0
    finally:
        os._exit(code)


def main(title: str, *modules: str) -> None:
    """``python -m onestack.supervise.zygote TITLE MODULE…``: an isolated one."""
    linux.set_title(title)
    # sd_listen_fds(3): the first that is passed on
    channel = socket.socket(fileno=3)
    channel.set_inheritable(False)
    serve(modules, {"channel": channel})


if __name__ == "__main__":
    main(*sys.argv[1:])
