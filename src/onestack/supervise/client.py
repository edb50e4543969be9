"""What the command line says to a cloud's supervisor."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from onestack.kernel import files, proc
from onestack.model.cloud import Cloud
from onestack.model.errors import NotRunning, NotYet, OnestackError
from onestack.model.process import SERVICES, Roster
from onestack.supervise import logs, protocol
from onestack.supervise.protocol import (
    Answer,
    Done,
    Failure,
    JobEnded,
    Loaded,
    ProcessStatus,
    Request,
    SupervisorStatus,
)
from onestack.supervise.systemd import ENVIRONMENT, command

ANSWER = 60.0
"""Seconds within which the supervisor answers; it may be importing a large module."""
LAUNCH = 60.0
"""Seconds for a supervisor to begin, leftovers of a killed one included."""

A = TypeVar("A", SupervisorStatus, Loaded, JobEnded, Done)

Explain = Callable[[str, str], str | None]
"""Component and log text to the likely cause and cure, if known."""


class OtherVersion(NotYet):
    """The supervisor that runs is of another version of onestack; `up` replaces it."""

    def __init__(self) -> None:
        super().__init__(
            "the supervisor is of another version of onestack",
            f"it does not speak version {protocol.VERSION} of the protocol",
            "run `onestack up`, which replaces it",
        )


class Client:
    """Talks to the supervisor of ``cloud``. Several may do so at once."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.roster = cloud.etc / "roster.json"
        self.log = cloud.log / "supervisor.log"
        self._socket = cloud.run / "supervisor" / "control.sock"

    # -- its life --------------------------------------------------------

    def running(self) -> bool:
        try:
            self._connect().close()
        except OSError:
            return False
        return True

    def launch(self, release_python: Path, program_path: Path, roster: Roster | Path) -> None:
        """Start it in the background unless it runs; returns when it answers.

        ``program_path`` is the directory that holds our package. A `Roster`
        is written to ``ROOT/etc/roster.json`` first.
        """
        path = self._write(roster)
        if self.running():
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        start = logs.size(self.log)
        ready, theirs = os.pipe()
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(program_path),
            proc.ROOT_VARIABLE: str(self.cloud.root),
        } | ENVIRONMENT
        with self.log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    command(release_python, path, "--ready-fd", str(theirs)),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                    pass_fds=(theirs,),
                )
            except OSError as error:
                os.close(ready)
                raise OnestackError(
                    "the supervisor cannot be started", f"{release_python}: {error.strerror}"
                ) from None
            finally:
                os.close(theirs)
        try:
            # closed when it listens, and when it has ended
            select.select([ready], [], [], LAUNCH)
        finally:
            os.close(ready)
        if self.running():
            return
        lines = logs.last_lines(self.log, 15, start)
        code = child.poll()
        if code is not None and self._another_begins(lines):
            return
        raise OnestackError(
            "the supervisor did not start",
            "\n".join([f"it ended with {code}" if code else "it does not answer", *lines]),
            f"see {self.log}",
        )

    def _another_begins(self, lines: list[str]) -> bool:
        """Somebody else launched it at the same time: wait for that one."""
        if not any("is running already" in line for line in lines):
            return False
        end = time.monotonic() + LAUNCH
        while time.monotonic() < end:
            if self.running():
                return True
            time.sleep(0.05)
        return False

    def shutdown(self) -> None:
        """Stop everything in order, and the supervisor too; nothing to do when it does not run."""
        try:
            connection = self._connect()
        except OSError:
            return
        with connection:
            self._send(connection, protocol.Shutdown(), None)
            answered = False
            try:
                # It answers at its very end: the socket closes when it is gone.
                with connection.makefile("rb") as lines:
                    for line in lines:
                        answered = True
                        _raise_failure(line)
            except OSError as error:
                raise self._gone("shutdown", str(error.strerror)) from None
        if not answered:
            raise self._gone("shutdown", "it closed the connection")

    # -- its processes ---------------------------------------------------

    def load(self, roster: Roster | None = None) -> Loaded:
        """Have it read its roster again, ``roster`` written to the file first."""
        if roster is not None:
            self._write(roster)
        return self._ask(protocol.Load(), Loaded)

    def start(self, names: Iterable[str] | None = None) -> None:
        """Want them running (all of them without names); see `wait`."""
        self._ask(protocol.Start(_listed(names)), Done)

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Returns when they are down."""
        self._ask(protocol.Stop(_listed(names)), Done, None)

    def pause(self, names: Iterable[str]) -> None:
        """Stop them, in order; their sockets stay open until they are started again.

        Does not wait: a `start` that comes before they are down is carried out then.
        """
        self._ask(protocol.Pause(tuple(names)), Done)

    def restart(self, names: Iterable[str] | None = None) -> None:
        """Stop and start again, in order; see `wait`."""
        self._ask(protocol.Restart(_listed(names)), Done)

    def wait(
        self,
        names: Iterable[str] | None = None,
        seconds: float = 120.0,
        explain: Explain | None = None,
    ) -> None:
        """Returns when all of them are ready.

        Raises `OnestackError` with the failing process's sentence, its last
        log lines and what ``explain`` knows about them.
        """
        self._ask(protocol.Wait(_listed(names), seconds), Done, None, explain)

    def status(self, names: Iterable[str] | None = None) -> list[ProcessStatus]:
        """Of ``names``, whose files are looked at anew (`ProcessStatus.stale`); else of all."""
        return list(self._ask(protocol.Status(_listed(names)), SupervisorStatus).processes)

    def details(self) -> SupervisorStatus:
        """All that it says of itself."""
        return self._ask(protocol.Status(), SupervisorStatus)

    def job(
        self,
        *,
        run: str,
        user: str,
        arguments: dict[str, Any],
        log: str,
        env: dict[str, str] | None = None,
        groups: Iterable[str] = (),
        environment: str = SERVICES,
        seconds: float = 0.0,
        component: str = "",
        explain: Explain | None = None,
    ) -> None:
        """Run ``module:function(arguments)`` once, in that ``environment``.

        ``log`` names it and its file in ``ROOT/log``; after ``seconds`` (0:
        never) it is killed. ``explain`` is asked about its ``component``. A
        job that another client has already started with the same words is
        waited for. Raises `OnestackError` unless it ends with 0.
        """
        job = protocol.RunJob(
            log=log,
            run=run,
            user=user,
            arguments=arguments,
            env=env or {},
            groups=tuple(groups),
            environment=environment,
            seconds=seconds,
        )
        ended = self._ask(job, JobEnded, None)
        if ended.code != 0:
            cause = explain(component, "\n".join(ended.lines)) if explain else None
            raise OnestackError(
                f"{log} failed",
                "\n".join([ended.how, *(f"  {line}" for line in ended.lines)]),
                cause or f"see {self.cloud.log / log}.log",
            )

    # -- the wire --------------------------------------------------------

    def _write(self, roster: Roster | Path) -> Path:
        if isinstance(roster, Path):
            return roster
        self.roster.parent.mkdir(parents=True, exist_ok=True)
        files.write(self.roster, roster.to_json(), 0o600)
        return self.roster

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWER)
            connection.connect(str(self._socket))
        except OSError:
            connection.close()
            raise
        return connection

    def _ask(
        self,
        request: Request,
        wanted: type[A],
        limit: float | None = ANSWER,
        explain: Explain | None = None,
    ) -> A:
        """Its answer, within ``limit`` seconds. Raises `OnestackError`."""
        with self._connected() as connection:
            self._send(connection, request, limit)
            for answer in self._answers(connection, request.kind, limit):
                if isinstance(answer, wanted):
                    return answer
                if isinstance(answer, Failure):
                    raise _error(answer, explain)
        raise self._gone(request.kind, "it closed the connection")

    def _connected(self) -> socket.socket:
        try:
            return self._connect()
        except OSError as error:
            raise NotRunning(
                "the supervisor does not run",
                f"{self._socket}: {error.strerror}",
                "run `onestack up`",
            ) from None

    def _send(self, connection: socket.socket, request: Request, limit: float | None) -> None:
        connection.settimeout(limit)
        try:
            connection.sendall(protocol.encode_request(request))
        except OSError as error:
            raise self._gone(request.kind, str(error.strerror)) from None

    def _answers(
        self, connection: socket.socket, verb: str, limit: float | None
    ) -> Iterator[Answer]:
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):  # else it died in the middle of it
                        yield protocol.decode_answer(line)
        except protocol.WrongVersion:
            raise OtherVersion from None
        except TimeoutError:
            raise OnestackError(
                "the supervisor does not answer",
                f"it said nothing to `{verb}` for {limit:.0f} s",
                f"see {self.log}",
            ) from None
        except OSError as error:
            raise self._gone(verb, str(error.strerror)) from None

    def _gone(self, verb: str, why: str) -> OnestackError:
        return OnestackError(
            f"the supervisor ended during `{verb}`", why, f"see {self.log}, run `onestack up` again"
        )


def _raise_failure(line: bytes) -> None:
    """What another version answers is not understood, and need not be."""
    with contextlib.suppress(protocol.WrongVersion):
        answer = protocol.decode_answer(line)
        if isinstance(answer, Failure):
            raise _error(answer, None)


def _error(failure: Failure, explain: Explain | None) -> OnestackError:
    cause = None
    if explain and failure.component:
        cause = explain(failure.component, "\n".join([failure.why, *failure.lines]))
    why = "\n".join([failure.why, *(f"  {line}" for line in failure.lines)])
    return OnestackError(failure.what, why, cause or failure.cure)


def _listed(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
