"""Sockets at which clients send lines and get lines.

Nothing a client does, or stops doing, holds up the supervisor or another client.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onestack.supervise.loop import READ, WRITE, Loop, log
from onestack.supervise.privsep import Peer, peer_of

LONGEST_LINE = 1024 * 1024
MOST_UNREAD = 4 * 1024 * 1024
"""A client that leaves more than this unread is dropped."""
PAUSE = 1.0
"""Seconds in which nobody is let in after nobody could be, such as without free descriptors."""


class Connection:
    """One client."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        handle: Callable[[Connection, bytes], None],
        encode: Callable[[Any], bytes],
    ) -> None:
        sock.setblocking(False)
        self._loop, self.sock, self._handle, self._encode = loop, sock, handle, encode
        self._in = b""
        self._out = bytearray()
        self._ending = False
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        loop.watch(sock, READ, self._ready)

    def send(self, message: Any) -> None:
        if self.closed:
            return
        self._out += self._encode(message)
        self._flush()
        if len(self._out) > MOST_UNREAD:
            self.close()

    def end(self) -> None:
        """Close it when all has been read."""
        self._ending = True
        self._flush()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.unwatch(self.sock)
        self.sock.close()
        if self.on_close:
            self.on_close()

    def detach(self) -> socket.socket:
        """Take the socket away; this object is then of no more use."""
        self.closed = True
        self._loop.unwatch(self.sock)
        self.sock.setblocking(True)
        return self.sock

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += data
        while b"\n" in self._in and not self.closed:
            line, _, self._in = self._in.partition(b"\n")
            self._handle(self, line)
        if len(self._in) > LONGEST_LINE:
            self.close()

    def _flush(self) -> None:
        if self.closed:
            return
        try:
            while self._out:
                del self._out[: self.sock.send(self._out)]
        except BlockingIOError:
            self._loop.watch(self.sock, READ | WRITE, self._ready)
            return
        except OSError:
            self.close()
            return
        if self._ending:
            self.close()
        else:
            self._loop.watch(self.sock, READ, self._ready)


def text_line(message: Any) -> bytes:
    return str(message).replace("\n", " ").encode() + b"\n"


def nobody_refused(peer: Peer) -> str:
    return ""


def listen(
    loop: Loop,
    path: Path,
    mode: int,
    handle: Callable[[Connection, bytes], None],
    encode: Callable[[Any], bytes],
    refusal: Callable[[Peer], str] = nobody_refused,
) -> socket.socket:
    """Serve clients at ``path``, but those with a ``refusal``; returns the listening socket."""

    def take(sock: socket.socket) -> None:
        Connection(loop, sock, handle, encode)

    def refused(peer: Peer) -> bytes:
        why = refusal(peer)
        return encode(why) if why else b""

    return admit(loop, path, mode, take, refused)


def admit(
    loop: Loop,
    path: Path,
    mode: int,
    take: Callable[[socket.socket], object],
    refusal: Callable[[Peer], bytes],
) -> socket.socket:
    """Have ``take`` each client that comes to ``path``; returns the listening socket.

    One with a ``refusal`` is told that and holds nothing here, not for a moment.
    """
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    old = os.umask(0o777 & ~mode)
    try:
        server.bind(str(path))
    finally:
        os.umask(old)
    server.listen(64)
    server.setblocking(False)

    def accept(events: int) -> None:
        try:
            sock, _ = server.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log(f"{path.name}: {error.strerror}; nobody is let in for {PAUSE:.0f} s")
            loop.unwatch(server)
            loop.later(PAUSE, watch)
            return
        if refused := refusal(peer_of(sock)):
            sock.setblocking(False)
            with sock, contextlib.suppress(OSError):
                sock.send(refused)
            return
        take(sock)

    def watch() -> None:
        if server.fileno() >= 0:  # not closed meanwhile
            loop.watch(server, READ, accept)

    watch()
    return server
