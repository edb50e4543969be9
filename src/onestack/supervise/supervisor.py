"""The supervisor: owns all processes of one cloud, and the zygote they are forked from."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from onestack.kernel import proc
from onestack.model.process import SERVICES, Process, Roster, ZygoteSpec
from onestack.supervise import control, logs, readiness, standalone
from onestack.supervise.child import Child, fork
from onestack.supervise.control import Connection
from onestack.supervise.jobs import Jobs, Order
from onestack.supervise.loop import Loop, log
from onestack.supervise.preload import Preloader
from onestack.supervise.privsep_daemons import PrivsepDaemons
from onestack.supervise.prober_link import ProberLink
from onestack.supervise.root_broker import RootBroker
from onestack.supervise.states import State
from onestack.supervise.supervised import Supervised
from onestack.supervise.systemd import Notifier
from onestack.supervise.watchers import Watchers
from onestack.supervise.zygote import Zygote

LOG_CHECK = 60.0
"""Seconds between looks at the sizes of the logs."""


class Supervisor:
    """Single-threaded. Implements `supervised.Host`."""

    def __init__(self, roster_file: Path, roster: Roster, notifier: Notifier) -> None:
        self.roster_file = roster_file
        self.roster = roster
        self.root = Path(roster.root)
        self.loop = Loop()
        self.notifier = notifier
        self.started = time.monotonic()
        self.processes: dict[str, Supervised] = {}
        self.preloader = Preloader(roster.preload)
        self.jobs = Jobs(self.loop, self.root, self.fork)
        self.prober = ProberLink(self.loop, self.root, self.fork, self._probed)
        self.privsep = PrivsepDaemons(self)
        self.root_broker = RootBroker(self)
        self.watchers = Watchers(self)
        self.zygotes: dict[str, Zygote] = {}
        self._listeners: list[socket.socket] = []
        self._pending_jobs: list[Callable[[], None]] = []
        self._settling = False
        self._told_ready = False
        self._alive_told = False
        self._told_status = ""
        self._shutting_down: list[Connection] | None = None

    # -- Host ------------------------------------------------------------

    def changed(self, process: Supervised) -> None:
        if process.state is not State.WAITING:
            log(f"{process.name}: {process.log_line()}")
        self.watchers.changed(process)
        self._settle_soon()

    def ended(self, pid: int) -> None:
        self.privsep.client_ended(pid)

    def watch(self, process: Supervised) -> None:
        self.prober.watch(process)

    def unwatch(self, process: Supervised) -> None:
        self.prober.drop(process.name)

    def fork(self, child: Child) -> tuple[int, int]:
        if not child.argv and child.zygote:
            return self.zygotes[child.zygote].fork(child)
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
            listen(place / "control.sock", 0o600, self._control_line),
            listen(place / "privsep.sock", 0o666, self.privsep.asked, encode=control.text_line),
            self.root_broker.listen(place / "root.sock"),
            readiness.listen(self, place / "notify.sock"),
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
            self.start(self.processes)
        # imports begin when the programs have been started: both take their time at once
        self.loop.later(0.0, self._begin_preloading)
        self._rotate_logs()
        self.loop.run()

    def _begin_preloading(self) -> None:
        self.loop.idle = self._preload_step

    def _preload_step(self) -> bool:
        more = self.preloader.step()
        if self.preloader.done:
            self._start_families()
            pending, self._pending_jobs = self._pending_jobs, []
            for call in pending:
                call()
            self._settle_soon()
        return more

    def _start_families(self) -> None:
        """Those that some process is forked from; one whose spec has changed anew."""
        used = {p.spec.zygote for p in self.processes.values() if p.spec.zygote}
        for name, zygote in list(self.zygotes.items()):
            if name not in used or not self._is_as_wanted(zygote):
                zygote.end()
                del self.zygotes[name]
        for name in sorted(used - self.zygotes.keys()):
            spec = self.roster.zygotes.get(name, ZygoteSpec(()))
            python = self.python(spec.environment)
            if not python:
                log(f"zygote {name}: there is no environment {spec.environment!r}")
                continue
            zygote = Zygote(name, spec, python, self.loop, self.root, self.fork, self._settle_soon)
            self.zygotes[name] = zygote
            zygote.start()

    def _is_as_wanted(self, zygote: Zygote) -> bool:
        spec = self.roster.zygotes.get(zygote.name)
        return zygote.spec == spec and zygote.python == self.python(zygote.spec.environment)

    def when_preloaded(self, call: Callable[[], None]) -> None:
        if self.preloader.done:
            call()
        else:
            self._pending_jobs.append(call)

    def _rotate_logs(self) -> None:
        for name in logs.rotate(self.root / "log"):
            log(f"{name} was large: copied to {name}.1 and emptied")
        self.loop.later(LOG_CHECK, self._rotate_logs)

    def _sign_of_life(self) -> None:
        self.notifier.say("WATCHDOG=1")
        self.loop.later(self.notifier.watchdog, self._sign_of_life)

    def _terminate(self) -> None:
        log("asked to end by a signal")
        self.shutdown()

    def shutdown(self, connection: Connection | None = None) -> None:
        """Stop everything in order, then end."""
        if self._shutting_down is None:
            self._shutting_down = []
            self.notifier.say("STOPPING=1")
            self.jobs.end_all()
            self.stop(self.processes)
        if connection:
            self._shutting_down.append(connection)
        self._settle_soon()

    def _end(self) -> None:
        self.prober.stop()
        for zygote in self.zygotes.values():
            zygote.end()
        for job in self.jobs.running.values():
            proc.send([job.pid], signal.SIGKILL)
        leftovers = proc.end_leftovers(self.root, patience=2.0)
        if leftovers:
            log("ended what services had left running: " + ", ".join(leftovers))
        for listener in self._listeners:
            listener.close()
        for name in ("control.sock", "privsep.sock", "root.sock", "notify.sock"):
            (self.root / "run" / "supervisor" / name).unlink(missing_ok=True)
        for connection in self._shutting_down or ():
            connection.done()
        log("supervisor ends")
        self.loop.stop()

    # -- order -----------------------------------------------------------

    def named(self, names: Iterable[str] | None) -> list[Supervised]:
        """Raises `KeyError` for a name there is not."""
        if names is None:
            return list(self.processes.values())
        return [self.processes[name] for name in names]

    def start(self, names: Iterable[str] | None) -> None:
        for process in self.named(names):
            process.start()
        self._settle_soon()

    def stop(self, names: Iterable[str] | None, again: bool = False, pause: bool = False) -> None:
        for process in self.named(names):
            process.stop(again, pause)
        self._settle_soon()

    def dependents(self, name: str) -> list[Supervised]:
        return [p for p in self.processes.values() if name in p.spec.needs]

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self.loop.soon(self._settle)

    def _settle(self) -> None:
        """Start what has all it needs, stop what nobody needs any more."""
        self._settling = False
        waiting = [p for p in self.processes.values() if p.state is State.WAITING]
        # programs first: what Python services need is mostly programs
        for process in sorted(waiting, key=lambda p: _forked(p.spec)):
            missing = self.missing(process)
            if not missing:
                process.begin()
            elif process.machine.detail != (detail := ", ".join(missing)):
                if not process.machine.detail:
                    log(f"{process.name}: waits for {detail}")
                process.machine.detail = detail
        for process in [p for p in self.processes.values() if p.state is State.STOPPING]:
            above = self._above(process)
            if above:
                process.machine.detail = f"{', '.join(above)} must be down first"
            else:
                process.proceed_stopping()
        self._forget_removed()
        self.watchers.look()
        self._tell_systemd()
        if self._shutting_down is not None and all(
            p.state is State.STOPPED for p in self.processes.values()
        ):
            if self.jobs.running:
                self.loop.later(0.05, self._settle_soon)
            else:
                self._end()

    def missing(self, process: Supervised) -> list[str]:
        """What it still waits for."""
        missing = []
        for name in process.spec.needs:
            other = self.processes.get(name)
            if other is None:
                missing.append(f"{name} (unknown)")
            elif not other.usable:
                missing.append(f"{name} ({other.state.value})")
        if _forked(process.spec) and not missing and not self.preloader.done:
            missing.append(self.preloader.sentence)
        zygote = self.zygotes.get(process.spec.zygote)
        if process.spec.zygote and not missing and not (zygote and zygote.done):
            missing.append(f"the zygote {process.spec.zygote}")
        return missing

    def _above(self, process: Supervised, seen: frozenset[str] = frozenset()) -> list[str]:
        """Those being stopped that need it, directly or through others."""
        found = []
        for other in self.dependents(process.name):
            if other.name in seen:
                continue
            if other.state is State.STOPPING:
                found.append(other.name)
            else:
                found += self._above(other, seen | {process.name})
        return found

    def _forget_removed(self) -> None:
        for process in list(self.processes.values()):
            if process.removed and process.state is State.STOPPED:
                del self.processes[process.name]
                log(f"{process.name}: no longer in the roster")

    def _probed(self, name: str, generation: int, ok: bool, text: str, unreachable: bool) -> None:
        process = self.processes.get(name)
        if process and process.generation == generation:
            process.probed(ok, text, unreachable)

    def _tell_systemd(self) -> None:
        # Also those that up has yet to start: the cloud is not there before.
        others = [p for p in self.processes.values() if p.state is not State.READY]
        number = len(self.processes)
        status = f"{number - len(others)} of {number} processes ready"
        if others:
            status += f"; {others[0].name}: {others[0].sentence()}"
        words = [f"STATUS={status}"]
        if status == self._told_status:
            return
        self._told_status = status
        if number and not others and not self._told_ready:
            self._told_ready = True
            words.insert(0, "READY=1")
            log(f"all {number} processes are ready")
        self.notifier.say(*words)
        if self._told_ready and self.notifier.watchdog and not self._alive_told:
            # The first one has systemd expect more, and imports may take a minute until now.
            self._alive_told = True
            self._sign_of_life()

    # -- what clients ask ------------------------------------------------

    def _control_line(self, connection: Connection, line: bytes) -> None:
        try:
            request = json.loads(line)
            verb = getattr(self, f"_verb_{request.pop('verb')}")
        except (ValueError, KeyError, AttributeError) as error:
            connection.error("the supervisor does not understand the request", repr(error))
            return
        try:
            verb(connection, **request)
        except KeyError as error:
            known = ", ".join(sorted(self.processes))
            connection.error(f"there is no process {error.args[0]!r}", f"there are: {known}")
        except TypeError as error:
            connection.error("the supervisor does not understand the request", str(error))

    def _verb_status(self, connection: Connection, names: list[str] | None = None) -> None:
        """With ``names``, only those that there are, and their files are looked at anew."""
        now = time.monotonic()
        wanted = self.processes if names is None else names
        processes = [self.processes[name] for name in wanted if name in self.processes]
        if names is not None:
            for process in processes:
                process.look_at_files()
        connection.done(
            pid=os.getpid(),
            since=now - self.started,
            python=sys.executable,
            program=str(Path(__file__).resolve().parents[2]),
            netns=self.roster.netns,
            preload={
                "sentence": self.preloader.sentence,
                "done": self.preloader.done,
                "seconds": self.preloader.seconds,
                "problems": self.preloader.problems,
            },
            zygotes={name: zygote.facts for name, zygote in self.zygotes.items()},
            processes=[p.describe() for p in processes],
            jobs=[
                {"name": j.order.log, "pid": j.pid, "since": now - j.since}
                for j in self.jobs.running.values()
            ],
            privsep=self.privsep.listing(),
        )

    def _verb_load(self, connection: Connection) -> None:
        """Read the roster again."""
        try:
            roster = Roster.from_file(self.roster_file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            connection.error(
                f"the roster {self.roster_file} cannot be read",
                repr(error),
                "run `onestack up` again; after an upgrade of onestack, `onestack down` before",
            )
            return
        if (roster.root, roster.netns) != (self.roster.root, self.roster.netns):
            connection.error(
                "the cloud's root or network namespace has changed",
                "a running supervisor cannot move to another one",
                "run `onestack down`, then `onestack up`",
            )
            return
        connection.done(**self._load(roster))

    def _load(self, roster: Roster) -> dict[str, list[str]]:
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
        self._settle_soon()
        return {
            "added": added,
            "removed": [p.name for p in removed],
            "stale": [p.name for p in self.processes.values() if p.stale],
        }

    @staticmethod
    def _replace(process: Supervised, spec: Process) -> None:
        if process.removed:
            process.removed, process.wanted = False, False
        process.spec = spec
        process.look_at_files()

    def _verb_start(self, connection: Connection, names: list[str] | None = None) -> None:
        if self._refuses(connection):
            return
        self.start(names)
        connection.done()

    def _refuses(self, connection: Connection) -> bool:
        if self._shutting_down is None:
            return False
        connection.error("nothing is started any more", "the supervisor is ending")
        return True

    def _verb_stop(self, connection: Connection, names: list[str] | None = None) -> None:
        """Done when all of them are down."""
        processes = self.named(names)
        self.stop(names)
        self.watchers.until_down(connection, processes)

    def _verb_pause(self, connection: Connection, names: list[str]) -> None:
        self.stop(names, pause=True)
        connection.done()

    def _verb_restart(self, connection: Connection, names: list[str] | None = None) -> None:
        if self._refuses(connection):
            return
        self.stop(names, again=True)
        connection.done()

    def _verb_wait(
        self, connection: Connection, names: list[str] | None = None, seconds: float = 60.0
    ) -> None:
        self.watchers.until_ready(connection, self.named(names), seconds)

    def _verb_job(self, connection: Connection, **order: Any) -> None:
        order["groups"] = tuple(order.get("groups", ()))
        wanted = Order(**order)

        def ended(code: int, how: str, lines: list[str]) -> None:
            connection.done(code=code, how=how, lines=lines)

        def begin() -> None:
            trouble = self.jobs.start(wanted, ended)
            if trouble:
                connection.error(f"the job {wanted.log} was not run", trouble)

        if not self._refuses(connection):
            self.when_preloaded(begin)

    def _verb_shutdown(self, connection: Connection) -> None:
        self.shutdown(connection)


def _forked(spec: Process) -> bool:
    """Whether it comes from a zygote, and is no program of its own."""
    return bool(spec.run and (spec.zygote or spec.environment == SERVICES))
