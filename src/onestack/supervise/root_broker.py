"""The way to root beside privsep: short commands that services have run for them.

Some of upstream's code still puts a helper (sudo, rootwrap) before a command. Here that
helper is ``runtime/root-helper``, which asks the supervisor over a unix socket. Who asks is
known by SO_PEERCRED; what each user may have run is data in the roster, declared by the
components (`onestack.model.root_command`). A request is a line of JSON, the command's words,
with which come the asker's standard input, output and error.

What is run is no part of the process that asked: it outlives that one, so that restarts of
neutron leave guests their DHCP and metadata, and ends with the cloud. For a command that
needs no privileges the answer is that the asker may run it itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
from pathlib import Path
from typing import Any, Protocol

from onestack.model.process import Roster
from onestack.model.root_command import Refused, RootCommand, chosen
from onestack.supervise.child import Child, ended_how, read_status
from onestack.supervise.control import admit
from onestack.supervise.loop import READ, Loop, log
from onestack.supervise.privsep import Peer, peer_of

NAME = "root-broker"
"""What commands have as their process's name: no process of a roster is called so."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 10.0
"""A request must be there within that."""
LONGEST = 1 << 20
"""Bytes of a request."""
LOGGED = 300
"""So much of a command is logged."""


class Parent(Protocol):
    loop: Loop
    root: Path
    roster: Roster

    def fork(self, child: Child) -> tuple[int, int]: ...


class RootBroker:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def listen(self, path: Path) -> socket.socket:
        """Serve helpers at ``path``; returns the listening socket."""
        loop = self._parent.loop
        return admit(loop, path, 0o666, lambda sock: _Asking(self, loop, sock), self._refusal)

    def _refusal(self, peer: Peer) -> bytes:
        """What one is told that may ask for nothing."""
        if self._allowed(peer):
            return b""
        why = f"the user {peer.user} may not ask for commands"
        log(f"root: pid {peer.pid} of {peer.user} was refused: {why}")
        return _said(refused=why)

    def _allowed(self, peer: Peer) -> tuple[RootCommand, ...]:
        return self._parent.roster.root_commands.get(peer.user, ())

    def asked(self, asking: _Asking, line: bytes) -> None:
        peer = peer_of(asking.sock)
        try:
            command = _command(line)
            known = chosen(command, self._allowed(peer))
            if known.as_root and len(asking.files) != 3:
                raise Refused("three open files must come with the request")
        except Refused as refused:
            log(f"root: pid {peer.pid} of {peer.user} was refused: {refused}")
            asking.answer(refused=str(refused))
            return
        words = command[known.leading :]
        if asking.gone:
            # It waited here for longer than its asker did: that one has told that it will not run.
            log(f"root: pid {peer.pid} of {peer.user} is gone, and has not run: {_shown(words)}")
            asking.answer()
        elif known.as_root:
            self._run(asking, peer, known, words)
        else:
            log(f"root: pid {peer.pid} of {peer.user} runs, without root: {_shown(words)}")
            asking.answer(itself=words)

    def _run(self, asking: _Asking, peer: Peer, known: RootCommand, words: list[str]) -> None:
        child = Child(
            name=NAME,
            root=self._parent.root,
            log=Path(os.devnull),
            env={"PATH": PATH, "LC_ALL": "C", **dict(one.split("=", 1) for one in known.settings)},
            argv=tuple(words),
            stdio=tuple(asking.files),
        )
        log(f"root: pid {peer.pid} of {peer.user} has run: {_shown(words)}")
        try:
            if known.notes:
                _note(Path(known.notes), words[known.noted])
            pid, status = self._parent.fork(child)
        except (OSError, Refused) as error:
            asking.answer(refused=f"{words[0]} could not be started: {error}")
            return
        asking.close_files()

        def gone(code: int) -> None:
            reason = read_status(status)
            if reason:
                log(f"root: {words[0]}, pid {pid}, could not be started: {reason}")
                asking.answer(refused=f"{words[0]} could not be started: {reason}")
                return
            if code:
                log(f"root: {words[0]}, pid {pid}, {ended_how(code)}")
            # As a shell says it.
            asking.answer(code=code if code >= 0 else 128 - code)

        self._parent.loop.on_child(pid, gone)


class _Asking:
    """One helper and its request."""

    def __init__(self, broker: RootBroker, loop: Loop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._broker, self._loop, self.sock = broker, loop, sock
        self.files: list[int] = []
        self._data = b""
        self._closed = False
        loop.watch(sock, READ, self._ready)
        self._timer = loop.later(SECONDS, self._close)

    @property
    def gone(self) -> bool:
        """Whether nobody is at the other end any more."""
        end = select.poll()
        end.register(self.sock, 0)  # as it is told of that in any case
        return bool(end.poll(0))

    def answer(self, **values: Any) -> None:
        """Say it, and be done. Nobody waits for a helper that does not listen any more."""
        if not self._closed:
            with contextlib.suppress(OSError):
                self.sock.send(_said(**values))
        self._close()

    def close_files(self) -> None:
        for descriptor in self.files:
            os.close(descriptor)
        self.files = []

    def _ready(self, events: int) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self.sock, 65536, 3, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        self.files += files
        self._data += data
        line, end, _ = self._data.partition(b"\n")
        if end:
            self._timer.cancel()
            # Nothing more is to come from it; that it goes away ends no command.
            self._loop.unwatch(self.sock)
            self._broker.asked(self, line)
        elif not data or len(self.files) > 3 or len(self._data) > LONGEST:
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._timer.cancel()
            self._loop.unwatch(self.sock)
            self.close_files()
            self.sock.close()


def _said(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _command(line: bytes) -> list[str]:
    try:
        command = json.loads(line)
    except ValueError:
        command = None
    if not (isinstance(command, list) and command and all(isinstance(w, str) for w in command)):
        raise Refused("the request is no command")
    if any("\0" in word for word in command):
        raise Refused("a word of the command has a NUL in it")
    return command


def _note(folder: Path, name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise Refused(f"{name!r} cannot be noted")
    (folder / name).touch()


def _shown(words: list[str]) -> str:
    text = "".join(c if c.isprintable() else "?" for c in shlex.join(words))
    return text if len(text) <= LOGGED else text[: LOGGED - 1] + "…"
