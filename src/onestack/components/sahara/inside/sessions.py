"""Processes that hold ssh sessions with guests, forked from one that is warm (its environment).

Upstream starts a program for each session, which imports all of sahara: seconds of a processor,
some sixty times for a cluster of two. Here they are forked from a process that was forked off
before anything was patched, and that imports the same once, when the first session is asked for.
What goes to and fro is upstream's.
"""

from __future__ import annotations

import io
import logging
import os
import random
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from onestack.kernel import linux

LOG = logging.getLogger("onestack.sahara")
TITLE = "sahara-ssh"

_ORDERS: list[socket.socket] = []
"""Where a session is asked for; empty until `begin` was called."""


def begin(
    prepare: Callable[[], None],
    work: Callable[[], None],
    unneeded: Iterable[socket.socket] = (),
) -> None:
    """Fork the parent of all sessions: while there is one thread, and nothing is patched.

    It calls ``prepare`` once, when the first is asked for. ``work`` is what a session does with
    its standard input and output.
    """
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        for each in unneeded:
            each.close()
        _leave_with(_be_the_parent, theirs, prepare, work)
    theirs.close()
    _ORDERS[:] = [ours]


def _leave_with(function: Callable[..., None], *arguments: Any) -> NoReturn:
    """What the service itself would do at its end is none of a child's."""
    code = 1
    try:
        function(*arguments)
        code = 0
    finally:
        os._exit(code)


# -- the parent of sessions ----------------------------------------------------------


def _be_the_parent(
    orders: socket.socket, prepare: Callable[[], None], work: Callable[[], None]
) -> None:
    """Until the service ends, by which its end of ``orders`` is closed."""
    linux.set_title(TITLE)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    prepared = False
    while True:
        word, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
        if not word:
            return
        if not prepared:
            prepare()
            prepared = True
        if os.fork() == 0:
            orders.close()
            _leave_with(_be_a_session, descriptors[0], work)
        os.close(descriptors[0])


def _be_a_session(channel: int, work: Callable[[], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    random.seed()
    # Greenlets made it, for which nothing may block.
    os.set_blocking(channel, True)
    os.dup2(channel, 0)
    os.dup2(channel, 1)
    os.close(channel)
    sys.stdin = io.TextIOWrapper(open(0, "rb"))  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb"))  # noqa: SIM115
    threading.Thread(target=_end_with, args=(0,), daemon=True).start()
    work()


def _end_with(channel: int) -> None:
    """A session that hangs in a guest looks for nothing else, and nobody waits for it."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


# -- the service ---------------------------------------------------------------------


class Session:
    """As upstream's code knows a process of its own: streams, and an end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(_ORDERS[0], [b"s"], [theirs.fileno()])
        except BrokenPipeError:
            LOG.critical("The parent of ssh sessions has ended; so does this process")
            os._exit(1)
        theirs.close()
        self.stdin = ours.makefile("wb")
        self.stdout = ours.makefile("rb")
        self.stderr = io.BytesIO()
        self._channel = ours

    def kill(self) -> None:
        """The session sees that nobody is at the other end any more."""
        for each in (self.stdin, self.stdout, self._channel):
            each.close()

    terminate = kill

    def wait(self) -> int:
        """Its parent does that."""
        return 0
