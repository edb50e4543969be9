"""Who is let in at the supervisor's sockets, and when."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from onestack.kernel import proc
from onestack.model.root_command import RootCommand
from onestack.supervise import control
from onestack.supervise.loop import Loop
from tests.unit.supervise.bench import SOURCE, Bench, needs_root

RUNTIME = SOURCE / "onestack" / "runtime"
SILENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as silent:
    silent.connect(sys.argv[1])
    silent.settimeout(5)
    print(silent.makefile().read(), end="")
"""
"""A client that says nothing, and reads until it is turned away."""


@needs_root
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("root.sock", '{"refused": "the user daemon may not ask for commands"}\n'),
        ("privsep.sock", "the user daemon may have no context\n"),
    ],
)
def test_who_may_ask_nothing_holds_no_connection(bench: Bench, name: str, answer: str) -> None:
    """Any local user could hold as many as the supervisor has descriptors."""
    bench.launch(privsep={"nobody": ("a.b",)}, root_commands={"nobody": (RootCommand(("id",)),)})
    place = bench.root / "run" / "supervisor" / name
    done = subprocess.run(
        [sys.executable, "-c", SILENT, place],
        capture_output=True,
        text=True,
        user="daemon",
        timeout=30,
    )
    assert (done.stdout, done.returncode) == (answer, 0), done.stderr
    assert "of daemon was refused" in bench.log("supervisor")


@needs_root
def test_the_helpers_say_why(bench: Bench) -> None:
    """Also where the connection is closed before they have asked."""
    bench.launch(privsep={"nobody": ("a.b",)}, root_commands={"nobody": (RootCommand(("id",)),)})
    place = str(bench.root / "run" / "supervisor" / "privsep.sock")
    words = ["--privsep_context", "a.b", "--privsep_sock_path", "/tmp/s"]
    helpers: list[list[str | Path]] = [
        [RUNTIME / "privsep-helper", place, *words],
        [RUNTIME / "root-helper", "id"],
    ]
    for _ in range(10):
        for command in helpers:
            done = subprocess.run(
                command,
                env={proc.ROOT_VARIABLE: str(bench.root)},
                capture_output=True,
                text=True,
                user="daemon",
                timeout=30,
            )
            assert done.returncode and "the user daemon may " in done.stderr


class Waiting:
    """A loop that keeps what it would call."""

    def __init__(self) -> None:
        self.watched: dict[socket.socket, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def watch(self, thing: socket.socket, events: int, call: Callable[[int], None]) -> None:
        self.watched[thing] = call

    def unwatch(self, thing: socket.socket) -> None:
        del self.watched[thing]

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((seconds, call))


def test_without_descriptors_nobody_is_let_in_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The listener had stayed readable: the supervisor logged and did nothing else."""
    loop, taken = Waiting(), list[socket.socket]()
    path = tmp_path / "s"
    server = control.admit(cast(Loop, loop), path, 0o600, taken.append, lambda peer: b"")
    with server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

        def full(self: socket.socket) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", full)
            loop.watched[server](1)
        assert capsys.readouterr().err.count("s: Too many open files") == 1
        assert not loop.watched
        ((seconds, again),) = loop.timers
        assert seconds == 1.0
        again()
        loop.watched[server](1)
        assert len(taken) == 1
        taken[0].close()
    loop.watched.clear()
    again()
    assert not loop.watched, "it is closed"
