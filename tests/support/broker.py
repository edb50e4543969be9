"""A message broker of a test's own, as the cloud's is set up, in a network of its own.

It evaluates what a test asks of it: a file beside it is the question, another the answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.components.rabbitmq import PORT, STARTED, Rabbitmq
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.process import ConnectProbe, Process
from onestack.supervise.probes.attempt import Attempts
from onestack.supervise.probes.base import ProbeResult
from tests.support import networks

installed = pytest.mark.skipif(
    not Path("/usr/lib/rabbitmq/lib").is_dir(), reason="needs the package rabbitmq-server"
)
_DOOR = """_ = spawn(fun() ->
    Tell = fun(Answer) ->
        ok = file:delete("ASK"),
        ok = file:write_file("TOLD.new", io_lib:format("~w", [Answer])),
        ok = file:rename("TOLD.new", "TOLD")
    end,
    Door = fun Door() ->
        timer:sleep(100),
        case filelib:is_regular("ASK") of
            true -> Tell(try file:script("ASK") of
                {ok, Answer} -> Answer;
                {error, Why} -> {wrong, Why}
            catch _:Failed -> {failed, Failed} end);
            false -> ok
        end,
        Door()
    end,
    Door()
end),
"""


def lay_out(ctx: Context) -> Process:
    """Its directories, files and cookie; and the process to be started."""
    rabbitmq = Rabbitmq()
    (process,) = rabbitmq.processes(ctx)
    for place in rabbitmq.directories(ctx):
        place.path.mkdir(parents=True)
    for file in Declared(rabbitmq, ctx).files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    cookie = ctx.cloud.data / "rabbitmq" / ".erlang.cookie"
    cookie.write_text("x" * 20)
    cookie.chmod(0o400)
    return process


class Broker:
    """See `running`."""

    def __init__(self, ctx: Context, beside: Path) -> None:
        self.ctx, self._beside = ctx, beside
        self.process = lay_out(ctx)
        ctx.cloud.log.mkdir(parents=True)
        self.log = ctx.cloud.log / "rabbitmq.log"
        started = ctx.cloud.etc / "rabbitmq" / STARTED
        door = _DOOR.replace("ASK", f"{beside}/ask").replace("TOLD", f"{beside}/told")
        started.write_text(door + started.read_text())
        self.server = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Anew, with its log open as the supervisor does it."""
        subprocess.run(self.process.prepare[0], check=True, timeout=60)
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                self.process.argv,
                env={**os.environ, **self.process.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 90
        while not (found := self.probed()).ok:
            assert self.server.poll() is None, self.log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < until, found.text
            time.sleep(0.3)
        return self.server

    def probed(self) -> ProbeResult:
        assert isinstance(self.process.probe, ConnectProbe)
        return Attempts().try_once(self.process.probe, 5.0)

    def ask(self, erlang: str, seconds: float = 30.0) -> str:
        """The value of the last of these expressions, as Erlang writes it; none once it ended."""
        told = self._beside / "told"
        told.unlink(missing_ok=True)
        asked = self._beside / "ask.new"
        asked.write_text(erlang.strip() + ".\n")
        asked.rename(self._beside / "ask")
        until = time.monotonic() + seconds
        while not told.exists():
            if self.server.poll() is not None:
                return ""
            assert time.monotonic() < until, f"no answer to {erlang}"
            time.sleep(0.05)
        return told.read_text()

    def say_nonsense(self) -> None:
        """What it writes a line about."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.ctx.internal, PORT), 5) as connection,
        ):
            connection.sendall(b"NONSENSE")
            connection.recv(100)

    def end(self) -> int:
        self.server.terminate()
        return self.server.wait(40)


@contextmanager
def running(ctx: Context, beside: Path) -> Iterator[Broker]:
    """One that answers; this thread is in its network meanwhile. Needs root."""
    with networks.alone():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        broker = Broker(ctx, beside)
        try:
            yield broker
        finally:
            if broker.server.poll() is None:
                # with what it has started itself
                os.killpg(broker.server.pid, signal.SIGKILL)
                broker.server.wait(30)
