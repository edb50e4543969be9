"""What the command line says to a cloud's supervisor."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from onestack.kernel import proc
from onestack.model.cloud import Cloud
from onestack.model.errors import NotRunning, OnestackError
from onestack.model.process import SERVICES, Roster
from onestack.supervise import logs
from onestack.supervise.systemd import ENVIRONMENT, command

ANSWER = 60.0
"""Seconds within which the supervisor answers; it may be importing a large module."""
LAUNCH = 60.0
"""Seconds for a supervisor to begin, leftovers of a killed one included."""

Explain = Callable[[str, str], str | None]
"""Component and log text to the likely cause and cure, if known."""


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    component: str
    state: str
    """One of `states.State`'s values: ``ready``, ``starting``, ``fatal`` …"""
    pid: int | None
    since: float
    """Seconds it has been in this state."""
    sentence: str
    restarts: int
    stale: bool
    """It runs with another configuration than it would get when restarted."""
    took: float | None = None
    """Seconds its last start took until it was ready."""
    services: tuple[str, ...] = ()
    """Further services that run in it."""

    @classmethod
    def from_answer(cls, raw: dict[str, Any]) -> ProcessStatus:
        known = {field.name for field in fields(cls)}
        found = {name: value for name, value in raw.items() if name in known}
        return cls(**{**found, "services": tuple(found.get("services", ()))})

    @property
    def inside(self) -> str:
        """The sentence's end where there is more than one service in it."""
        return f", with {' and '.join(self.services)} in it" if self.services else ""


@dataclass(frozen=True)
class Loaded:
    """What a new roster changed."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    stale: tuple[str, ...]
    """Those that want a restart."""


class Supervisor:
    """The supervisor of ``cloud``, from outside. Several clients may talk to it at once."""

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
            self._last(self._talk(connection, "shutdown", None))
            # it has answered at its very end: its socket closes when it is gone
            connection.settimeout(ANSWER)
            while connection.recv(4096):
                pass

    # -- its processes ---------------------------------------------------

    def load(self, roster: Roster | None = None) -> Loaded:
        """Have it read its roster again, ``roster`` written to the file first."""
        if roster is not None:
            self._write(roster)
        answer = self._ask("load")
        return Loaded(*(tuple(answer[name]) for name in ("added", "removed", "stale")))

    def start(self, names: Iterable[str] | None = None) -> None:
        """Want them running (all of them without names); see `wait`."""
        self._ask("start", names=_listed(names))

    def stop(
        self,
        names: Iterable[str] | None = None,
        on_event: Callable[[ProcessStatus], None] | None = None,
    ) -> None:
        """Returns when they are down."""
        self._follow("stop", on_event, None, names=_listed(names))

    def pause(self, names: Iterable[str]) -> None:
        """Stop them, in order; their sockets stay open until they are started again.

        Does not wait: a `start` that comes before they are down is carried out then.
        """
        self._ask("pause", names=_listed(names))

    def restart(self, names: Iterable[str] | None = None) -> None:
        """Stop and start again, in order; see `wait`."""
        self._ask("restart", names=_listed(names))

    def wait(
        self,
        names: Iterable[str] | None = None,
        seconds: float = 120.0,
        on_event: Callable[[ProcessStatus], None] | None = None,
        explain: Explain | None = None,
    ) -> None:
        """Returns when all of them are ready; ``on_event`` gets each change of state.

        Raises `OnestackError` with the failing process's sentence, its last
        log lines and what ``explain`` knows about them.
        """
        self._follow("wait", on_event, explain, names=_listed(names), seconds=seconds)

    def status(self, names: Iterable[str] | None = None) -> list[ProcessStatus]:
        """Of ``names``, whose files are looked at anew (`ProcessStatus.stale`); else of all."""
        answer = self._ask("status", names=_listed(names))
        return [ProcessStatus.from_answer(raw) for raw in answer["processes"]]

    def details(self) -> dict[str, Any]:
        """All it says: ``pid``, ``since``, ``python``, ``program``, ``preload``,
        ``processes``, ``jobs``, ``privsep``."""
        return self._ask("status")

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
        explain: Explain | None = None,
    ) -> None:
        """Run ``module:function(arguments)`` once, in that ``environment``.

        ``log`` names it and its file in ``ROOT/log``; after ``seconds`` (0:
        never) it is killed. A job that another client has already started
        with the same words is waited for. Raises `OnestackError` unless it
        ends with 0.
        """
        answer = self._ask(
            "job",
            seconds_to_answer=None,
            log=log,
            run=run,
            user=user,
            arguments=arguments,
            env=env or {},
            groups=list(groups),
            environment=environment,
            seconds=seconds,
        )
        if answer["code"] != 0:
            lines = answer["lines"]
            cause = explain(log, "\n".join(lines)) if explain else None
            raise OnestackError(
                f"{log} failed",
                "\n".join([answer["how"], *(f"  {line}" for line in lines)]),
                cause or f"see {self.cloud.log / log}.log",
            )

    # -- the wire --------------------------------------------------------

    def _write(self, roster: Roster | Path) -> Path:
        if isinstance(roster, Path):
            return roster
        self.roster.parent.mkdir(parents=True, exist_ok=True)
        new = self.roster.with_name(self.roster.name + ".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(roster.to_json())
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.roster)
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
        self, verb: str, seconds_to_answer: float | None = ANSWER, **request: Any
    ) -> dict[str, Any]:
        with self._connected() as connection:
            return self._last(self._talk(connection, verb, seconds_to_answer, **request))

    def _connected(self) -> socket.socket:
        try:
            return self._connect()
        except OSError as error:
            raise NotRunning(
                "the supervisor does not run",
                f"{self._socket}: {error.strerror}",
                "run `onestack up`",
            ) from None

    def _talk(
        self, connection: socket.socket, verb: str, limit: float | None, /, **request: Any
    ) -> Iterator[dict[str, Any]]:
        """The answer's lines, the last one included."""
        connection.settimeout(limit)
        try:
            connection.sendall(json.dumps({"verb": verb, **request}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer: dict[str, Any] = json.loads(line)
                    yield answer
                    if "done" in answer or "error" in answer:
                        return
        except TimeoutError:
            raise OnestackError(
                "the supervisor does not answer",
                f"it said nothing to `{verb}` for {limit:.0f} s",
                f"see {self.log}",
            ) from None
        except OSError as error:
            raise self._gone(verb, str(error.strerror)) from None
        raise self._gone(verb, "it closed the connection")

    def _gone(self, verb: str, why: str) -> OnestackError:
        return OnestackError(
            f"the supervisor ended during `{verb}`", why, f"see {self.log}, run `onestack up` again"
        )

    @staticmethod
    def _last(answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
        *_, answer = answers
        if "error" in answer:
            error = answer["error"]
            raise OnestackError(error["what"], error["why"], error["cure"])
        done: dict[str, Any] = answer["done"]
        return done

    def _follow(
        self,
        verb: str,
        on_event: Callable[[ProcessStatus], None] | None,
        explain: Explain | None,
        **request: Any,
    ) -> None:
        with self._connected() as connection:
            for answer in self._talk(connection, verb, None, **request):
                if "event" in answer and on_event:
                    on_event(ProcessStatus.from_answer(answer["event"]))
                elif "error" in answer:
                    raise self._failed(answer["error"], explain)

    @staticmethod
    def _failed(error: dict[str, Any], explain: Explain | None) -> OnestackError:
        lines = error.get("lines", [])
        cause = None
        if explain and "component" in error:
            cause = explain(error["component"], "\n".join([error["why"], *lines]))
        why = "\n".join([error["why"], *(f"  {line}" for line in lines)])
        return OnestackError(error["what"], why, cause or error["cure"])


def _listed(names: Iterable[str] | None) -> list[str] | None:
    return None if names is None else list(names)
