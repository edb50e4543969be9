"""What clients ask of the supervisor: each request of the protocol, carried out and answered."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.model.process import Roster
from onestack.supervise import protocol
from onestack.supervise.control import Connection
from onestack.supervise.loop import log
from onestack.supervise.protocol import Done, Failure, Loaded, SupervisorStatus

if TYPE_CHECKING:
    from onestack.supervise.supervised import Supervised
    from onestack.supervise.supervisor import Supervisor


class UnknownProcess(Exception):
    """A request names a process that there is not."""


class Verbs:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def answer(self, connection: Connection, line: bytes) -> None:
        try:
            request = protocol.decode_request(line)
        except protocol.BadRequest as refused:
            connection.send(refused.failure)
            return
        try:
            self._carry_out(connection, request)
        except UnknownProcess as error:
            known = ", ".join(sorted(self._supervisor.processes))
            connection.send(Failure(f"there is no process {str(error)!r}", f"there are: {known}"))
        except Exception as error:  # noqa: BLE001
            log(f"a defect in the verb {request.kind}:\n{traceback.format_exc()}")
            connection.send(
                Failure(
                    f"an error of onestack's own in the supervisor's {request.kind!r}",
                    f"{type(error).__name__}: {error}",
                    f"see {self._supervisor.root / 'log' / 'supervisor.log'}, and report it",
                )
            )

    def _carry_out(  # noqa: C901 - a case for each verb
        self, connection: Connection, request: protocol.Request
    ) -> None:
        supervisor = self._supervisor
        match request:
            case protocol.Status(names):
                connection.send(self._status(names))
            case protocol.Load():
                connection.send(self._load())
            case protocol.Start(names):
                if not self._refuses(connection):
                    supervisor.start(self._named(names))
                    connection.send(Done())
            case protocol.Stop(names):
                processes = self._named(names)
                supervisor.stop(processes)
                supervisor.watchers.until_down(connection, processes)
            case protocol.Pause(names):
                supervisor.stop(self._named(names), pause=True)
                connection.send(Done())
            case protocol.Restart(names):
                if not self._refuses(connection):
                    supervisor.stop(self._named(names), again=True)
                    connection.send(Done())
            case protocol.Wait(names, seconds):
                supervisor.watchers.until_ready(connection, self._named(names), seconds)
            case protocol.RunJob():
                if not self._refuses(connection):
                    self._run_job(connection, request)
            case protocol.Shutdown():
                supervisor.shutdown(connection)

    def _named(self, names: Iterable[str] | None) -> list[Supervised]:
        """All of them without names. Raises `UnknownProcess`."""
        known = self._supervisor.processes
        wanted = list(known if names is None else names)
        for name in wanted:
            if name not in known:
                raise UnknownProcess(name)
        return [known[name] for name in wanted]

    def _refuses(self, connection: Connection) -> bool:
        if not self._supervisor.ending:
            return False
        connection.send(Failure("nothing is started any more", "the supervisor is ending"))
        return True

    def _status(self, names: tuple[str, ...] | None) -> SupervisorStatus:
        supervisor, now = self._supervisor, time.monotonic()
        known = supervisor.processes
        processes = [known[name] for name in (known if names is None else names) if name in known]
        if names is not None:
            for process in processes:
                process.look_at_files()
        return SupervisorStatus(
            pid=os.getpid(),
            since=now - supervisor.started,
            python=sys.executable,
            program=str(Path(__file__).resolve().parents[2]),
            netns=supervisor.roster.netns,
            preload=supervisor.preloader.status(),
            zygotes=supervisor.zygotes.listing(),
            processes=tuple(process.status() for process in processes),
            jobs=supervisor.jobs.listing(),
            privsep=supervisor.privsep.listing(),
        )

    def _load(self) -> Loaded | Failure:
        """Read the roster again."""
        supervisor = self._supervisor
        try:
            roster = Roster.from_file(supervisor.roster_file)
        except (OSError, ValueError) as error:
            return Failure(
                f"the roster {supervisor.roster_file} cannot be read",
                repr(error),
                "run `onestack up` again; after an upgrade of onestack, `onestack down` before",
            )
        old = supervisor.roster
        if (roster.root, roster.netns) != (old.root, old.netns):
            return Failure(
                "the cloud's root or network namespace has changed",
                "a running supervisor cannot move to another one",
                "run `onestack down`, then `onestack up`",
            )
        return supervisor.load(roster)

    def _run_job(self, connection: Connection, job: protocol.RunJob) -> None:
        def begin() -> None:
            trouble = self._supervisor.jobs.start(job, lambda ended: connection.send(ended))
            if trouble:
                connection.send(Failure(f"the job {job.log} was not run", trouble))

        self._supervisor.when_preloaded(begin)
