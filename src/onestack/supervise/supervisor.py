"""The supervisor: owns all processes of one cloud, and forks them, or has zygotes do so."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from onestack.kernel import proc
from onestack.model.process import SERVICES, Process, Roster
from onestack.supervise import control, logs, order, protocol, standalone
from onestack.supervise.announcer import Announcer
from onestack.supervise.child import Child, fork
from onestack.supervise.control import Connection
from onestack.supervise.jobs import Jobs
from onestack.supervise.loop import Loop, log
from onestack.supervise.preload import Preloader
from onestack.supervise.privsep_daemons import PrivsepDaemons
from onestack.supervise.prober_link import ProberLink
from onestack.supervise.probes import notify
from onestack.supervise.probes.orders import Found
from onestack.supervise.protocol import Done, Loaded
from onestack.supervise.root_broker import RootBroker
from onestack.supervise.states import State
from onestack.supervise.supervised import Supervised
from onestack.supervise.systemd import Notifier
from onestack.supervise.verbs import Verbs
from onestack.supervise.watchers import Watchers
from onestack.supervise.zygotes import Zygotes

LOG_CHECK = 60.0
"""Seconds between looks at the sizes of the logs."""


class Supervisor:
    """Single-threaded. Implements `supervised.Host`."""

    def __init__(self, roster_file: Path, roster: Roster, notifier: Notifier) -> None:
        self.roster_file = roster_file
        self.roster = roster
        self.root = Path(roster.root)
        self.loop = Loop()
        self.announcer = Announcer(self.loop, notifier)
        self.started = time.monotonic()
        self.processes: dict[str, Supervised] = {}
        self.preloader = Preloader(roster.preload)
        self.jobs = Jobs(self.loop, self.root, self.fork)
        self.prober = ProberLink(self.loop, self.root, self.fork, self._probed)
        self.privsep = PrivsepDaemons(self)
        self.root_broker = RootBroker(self)
        self.watchers = Watchers(self)
        self.verbs = Verbs(self)
        self.zygotes = Zygotes(self)
        self._listeners: list[socket.socket] = []
        self._pending_jobs: list[Callable[[], None]] = []
        self._settling = False
        self.ending = False
        """It has been told to end; nothing is started any more."""
        self._end_awaited: list[Connection] = []

    # -- Host ------------------------------------------------------------

    def changed(self, process: Supervised) -> None:
        if process.state is not State.WAITING:
            log(f"{process.name}: {process.log_line()}")
        self.settle_soon()

    def ended(self, pid: int) -> None:
        self.privsep.client_ended(pid)

    def watch(self, process: Supervised) -> None:
        self.prober.watch(process)

    def unwatch(self, process: Supervised) -> None:
        self.prober.drop(process.name)

    def fork(self, child: Child) -> tuple[int, int]:
        if not child.argv and child.zygote:
            return self.zygotes.fork(child)
        if not child.argv and child.environment != SERVICES:
            python = self.python(child.environment)
            if not python:
                raise OSError(0, f"there is no environment {child.environment!r}")
            child = standalone.program(child, python)
        return fork(child, self.loop.close_in_child)

    def python(self, environment: str) -> str:
        if environment == SERVICES:
            return sys.executable
        return self.roster.environments.get(environment, "")

    # -- life ------------------------------------------------------------

    def listen(self) -> None:
        """From now on clients may come; they are answered by `run`."""
        place = self.root / "run" / "supervisor"
        listen = partial(control.listen, self.loop)
        self._listeners = [
            listen(place / "control.sock", 0o600, self.verbs.answer, protocol.encode_answer),
            listen(
                *(place / "privsep.sock", 0o666, self.privsep.asked, control.text_line),
                refusal=self.privsep.refusal,
            ),
            self.root_broker.listen(place / "root.sock"),
            notify.listen(self, place / "notify.sock"),
        ]

    def run(self, start_all: bool) -> None:
        """Until told to end."""
        log(f"supervisor of {self.roster.cloud} runs, pid {os.getpid()}, {self.root}")
        self.loop.on_signal(signal.SIGTERM, self._terminate)
        self.loop.on_signal(signal.SIGINT, self._terminate)
        self.loop.on_signal(signal.SIGHUP, lambda: None)
        # the prober is forked before anything is imported: it stays small
        self.prober.start()
        self.prober.identity(self.roster.identity)
        for spec in self.roster.processes:
            self.processes[spec.name] = Supervised(spec, self)
        if start_all:
            self.start(self.processes.values())
        # imports begin when the programs have been started: both take their time at once
        self.loop.later(0.0, self._begin_preloading)
        self._rotate_logs()
        self.loop.run()

    def _begin_preloading(self) -> None:
        self.loop.idle = self._preload_step

    def _preload_step(self) -> bool:
        more = self.preloader.step()
        if self.preloader.done:
            self.zygotes.settle()
            pending, self._pending_jobs = self._pending_jobs, []
            for call in pending:
                call()
            self.settle_soon()
        return more

    def when_preloaded(self, call: Callable[[], None]) -> None:
        if self.preloader.done:
            call()
        else:
            self._pending_jobs.append(call)

    def _rotate_logs(self) -> None:
        for name in logs.rotate(self.root / "log"):
            log(f"{name} was large: copied to {name}.1 and emptied")
        self.loop.later(LOG_CHECK, self._rotate_logs)

    def _terminate(self) -> None:
        log("asked to end by a signal")
        self.shutdown()

    def shutdown(self, connection: Connection | None = None) -> None:
        """Stop everything in order, then end."""
        if not self.ending:
            self.ending = True
            self.announcer.tell_ending()
            self.jobs.end_all()
            self.stop(self.processes.values())
        if connection:
            self._end_awaited.append(connection)
        self.settle_soon()

    def _end(self) -> None:
        self.prober.stop()
        self.zygotes.end()
        for job in self.jobs.running.values():
            proc.send([job.pid], signal.SIGKILL)
        leftovers = proc.end_leftovers(self.root, timeout=2.0)
        if leftovers:
            log("ended what services had left running: " + ", ".join(leftovers))
        for listener in self._listeners:
            listener.close()
        for name in ("control.sock", "privsep.sock", "root.sock", "notify.sock"):
            (self.root / "run" / "supervisor" / name).unlink(missing_ok=True)
        for connection in self._end_awaited:
            connection.send(Done())
        log("supervisor ends")
        self.loop.stop()

    # -- order -----------------------------------------------------------

    def start(self, processes: Iterable[Supervised]) -> None:
        for process in processes:
            process.start()
        self.settle_soon()

    def stop(
        self, processes: Iterable[Supervised], again: bool = False, pause: bool = False
    ) -> None:
        for process in processes:
            process.stop(again, pause)
        self.settle_soon()

    def settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self.loop.soon(self._settle)

    def _settle(self) -> None:
        """Start what has all it needs, end what nobody needs any more."""
        self._settling = False
        self._carry_out(self._decide())
        self._forget_removed()
        self.watchers.look()
        self.announcer.tell(self.processes.values())
        if self.ending and all(p.state is State.STOPPED for p in self.processes.values()):
            if self.jobs.running:
                self.loop.later(0.05, self.settle_soon)
            else:
                self._end()

    def _decide(self) -> order.Decision:
        members = {name: process.member() for name, process in self.processes.items()}
        preloading = "" if self.preloader.done else self.preloader.sentence
        return order.decide(members, order.Parents(preloading, self.zygotes.ready()))

    def _carry_out(self, decision: order.Decision) -> None:
        for name, what in decision.waiting.items():
            machine = self.processes[name].machine
            if not machine.detail:
                log(f"{name}: waits for {what}")
            machine.detail = what
        for name, what in decision.stopping.items():
            self.processes[name].machine.detail = what
        for name in decision.start:
            self.processes[name].begin()
        for name in decision.end:
            self.processes[name].proceed_stopping()

    def _forget_removed(self) -> None:
        for process in list(self.processes.values()):
            if process.removed and process.state is State.STOPPED:
                del self.processes[process.name]
                log(f"{process.name}: no longer in the roster")

    def _probed(self, found: Found) -> None:
        process = self.processes.get(found.name)
        if process and process.generation == found.generation:
            process.probed(found.ok, found.text, found.unreachable)

    def load(self, roster: Roster) -> Loaded:
        """Have that one from now on."""
        self.roster = roster
        self.prober.identity(roster.identity)
        wanted = {spec.name: spec for spec in roster.processes}
        added = [name for name in wanted if name not in self.processes]
        removed = [p for p in self.processes.values() if p.name not in wanted]
        for process in removed:
            process.removed = True
            process.stop()
        for name, spec in wanted.items():
            if name in self.processes:
                self._replace(self.processes[name], spec)
            else:
                self.processes[name] = Supervised(spec, self)
        # in the roster's order
        known, self.processes = self.processes, {}
        for name in (*wanted, *known):
            self.processes[name] = known[name]
        self.preloader.add(roster.preload)
        self._begin_preloading()
        self.settle_soon()
        return Loaded(
            added=tuple(added),
            removed=tuple(p.name for p in removed),
            stale=tuple(p.name for p in self.processes.values() if p.stale),
        )

    @staticmethod
    def _replace(process: Supervised, spec: Process) -> None:
        if process.removed:
            process.removed, process.wanted = False, False
        process.spec = spec
        process.look_at_files()
