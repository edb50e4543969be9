"""One process of the roster: from wanted to ready, and down again.

Everything waits on edges of the loop: the end of a child, its status pipe,
an answer of the prober, a timer. The only writer of its `StateMachine`.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket
from typing import Protocol

from onestack.kernel import disk, proc
from onestack.model.process import SERVICES, NotifyProbe, Process
from onestack.supervise import logs
from onestack.supervise.child import Child, ended_how, load, read_status
from onestack.supervise.loop import READ, Loop, Timer, log
from onestack.supervise.order import Member
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.sockets import SocketTrouble, close_socket, open_socket
from onestack.supervise.states import RUNNING, State, StateMachine, duration

PROBELESS = 0.5
"""Seconds after which a process without a probe counts as ready."""
FAILED_PROBES = 3
"""In a row, until a ready process is called unhealthy."""
DEAF = 60.0
"""Seconds without accepting a connection after which an unhealthy process is restarted.

A wrong answer alone restarts nothing: what is slow or misconfigured does not
get better by being killed, and its log and state are worth looking at.
"""
COMMAND_SECONDS = 60.0
"""A preparation or cleanup may take that long."""
DESCENDANTS_SECONDS = 3.0
"""Between TERM and KILL for what a process left running."""
TIMEOUT_FACTOR = 4
"""A start that was too slow gets that many times the time, in the end.

So does one on a machine with more to do than it has processors for.
"""


class Owner(Protocol):
    """What a process needs of its supervisor."""

    loop: Loop
    root: Path

    def changed(self, process: Supervised) -> None:
        """Its state is another one now."""

    def ended(self, pid: int) -> None:
        """A process with this pid is gone."""

    def watch(self, process: Supervised) -> None:
        """Have its probe tried."""

    def unwatch(self, process: Supervised) -> None: ...

    def fork(self, child: Child) -> tuple[int, int]:
        """From the supervisor or the child's zygote, or as a program; pid and status pipe."""

    def python(self, environment: str) -> str:
        """Path of that environment's interpreter; empty if there is none of the name."""


def disk_full(place: Path) -> bool:
    try:
        return disk.room(place) < disk.FULL
    except OSError:
        return False


def fingerprint(paths: tuple[str, ...]) -> dict[str, str]:
    """Content hash of each file; empty for one that cannot be read."""
    found = {}
    for path in paths:
        try:
            found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            found[path] = ""
    return found


def busyness() -> float:
    """How many times longer everything takes: the load for each processor, 1 to 4."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return max(1.0, min(load, float(TIMEOUT_FACTOR)))


def run_process(spec: Process, sockets: dict[str, socket]) -> int | None:
    """In the child."""
    return load(spec.run)(spec, sockets)


class Supervised:
    """See `states` for what it may be in; `wanted` is what the operator wants."""

    def __init__(self, spec: Process, host: Owner) -> None:
        self.spec = spec
        self.host = host
        self.machine = StateMachine(time.monotonic())
        self.wanted = False
        self.again = False
        """Start it again once it has stopped."""
        self.paused = False
        """Its sockets stay open while it is down: clients wait for it."""
        self.removed = False
        """Forget it once it has stopped."""
        self.generation = 0
        self.born = 0.0
        """Wall-clock time of the last start."""
        self._begun = 0.0
        self._begun_full = False
        """On a full disk. What ends may make room itself by that: it was full all the same."""
        self.took: float | None = None
        """Seconds from the begin of its last start until it was ready."""
        self.log_start = 0
        self._running: Process = spec
        """The spec it was started with."""
        self._python = ""
        """The interpreter of its environment at that time."""
        self._files: dict[str, str] = {}
        self._wanted_files: dict[str, str] = {}
        self.sockets: dict[str, tuple[str, socket]] = {}
        self._command: int | None = None
        self._signalled = False
        self._failure = ""
        """Why it is being stopped, when that is not what the operator wants."""
        self._dirty = False
        """Started since its cleanup commands ran last."""
        self._timers: list[Timer] = []
        self._said_last = ""
        self._misses = 0
        self._deaf_since: float | None = None
        self._setup_error = ""
        self._status: int | None = None
        self._session = 0

    # -- what others ask -------------------------------------------------

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def log(self) -> Path:
        return self.host.root / "log" / f"{self.name}.log"

    @property
    def stale(self) -> bool:
        """It runs with another spec, or other contents of its files, than it would get now."""
        if self.state not in RUNNING:
            return False
        return (
            self._running != self.spec
            or self._files != self._wanted_files
            or self._python not in ("", self.host.python(self.spec.environment))
        )

    def look_at_files(self) -> None:
        """Take note of its files' contents, for `stale`."""
        self._wanted_files = fingerprint(self.spec.files)

    def sentence(self) -> str:
        return self.machine.sentence(time.monotonic(), self.stale)

    def log_line(self) -> str:
        """As the sentence, at the moment of the change."""
        pid = f", pid {self.machine.pid}" if self.machine.pid else ""
        match self.state:
            case State.READY:
                note = f" ({self.machine.detail})" if self.machine.detail else ""
                return f"ready after {duration(self.took or 0.0)}{pid}{note}"
            case State.STARTING:
                return "starts"
            case State.STOPPING:
                because = f": {self.machine.detail}" if self.machine.detail else ""
                return f"is to stop{pid}{because}"
            case State.STOPPED:
                return "has stopped"
        return self.sentence()

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            name=self.name,
            component=self.spec.component,
            state=self.state,
            pid=self.machine.pid,
            since=time.monotonic() - self.machine.since,
            sentence=self.sentence(),
            restarts=self.machine.restarts,
            stale=self.stale,
            took=self.took,
            services=self.spec.services,
        )

    def member(self) -> Member:
        spec = self.spec
        forked = bool(spec.run and (spec.zygote or spec.environment == SERVICES))
        return Member(self.name, self.state, spec.needs, self.wanted, forked, spec.zygote)

    def lines(self, number: int = 15) -> list[str]:
        """The last lines it wrote since it was last started."""
        return logs.last_lines(self.log, number, self.log_start)

    # -- what the operator wants ----------------------------------------

    def start(self) -> None:
        """Want it. A start of what runs already is none; one of what gave up is a new one."""
        self.wanted = True
        if self.state in (State.STOPPED, State.FATAL):
            self.machine.wanted(time.monotonic())
            self._changed()
        elif self.state is State.BACKOFF:
            self._cancel_timers()
            self.machine.failures = self.machine.quick = 0
            self.machine.retry(time.monotonic())
            self._changed()
        elif self.state is State.STOPPING:
            self.again = True

    def stop(self, again: bool = False, pause: bool = False) -> None:
        """Want it down; the signal is sent by `proceed_stopping`, when its dependents are down."""
        self.wanted, self.again, self.paused = again, again, pause
        now = time.monotonic()
        self._failure = ""
        match self.state:
            case State.STOPPING:
                return
            case State.STOPPED:
                if again:
                    self.start()
                elif not pause:
                    self._close_sockets()
                return
            case State.WAITING:
                self.machine.stopped(now)
                self._stopped()
                return
            case State.BACKOFF if not (again or pause):
                # Nobody will accept any more: those who wait, and must end first, are told so.
                self._close_sockets()
        self._cancel_timers()
        self.host.unwatch(self)
        self._signalled = False
        self.machine.stopping(now)
        self._changed()

    def proceed_stopping(self) -> None:
        """All that depend on it are down: end it."""
        if self.state is not State.STOPPING or self._signalled:
            return
        self._signalled = True
        if not self._failure:
            self.machine.detail = ""
        pid = self.machine.pid
        if self._command is not None:  # still preparing
            proc.send([self._command], signal.SIGKILL)
        elif pid is None:
            self._end_descendants(self._after_stop)
        else:
            number = signal.Signals[f"SIG{self._running.stop_signal}"]
            proc.send([pid], number)
            self._later(self._running.stop_seconds, partial(self._kill, pid))

    def _kill(self, pid: int) -> None:
        if self.machine.pid == pid:
            limit = duration(self._running.stop_seconds)
            log(f"{self.name}: pid {pid} did not end within {limit}, killed")
            proc.send([pid], signal.SIGKILL)

    # -- starting --------------------------------------------------------

    def begin(self) -> None:
        """All it needs is there."""
        self.generation += 1
        self._running = self.spec
        self.look_at_files()
        self._files = self._wanted_files
        self._misses, self._deaf_since, self._said_last = 0, None, ""
        self.log_start = logs.size(self.log)
        self._begun, self.took = time.monotonic(), None
        self._begun_full = disk_full(self.host.root)
        self.machine.starting(time.monotonic())
        self._changed()
        try:
            self._open_sockets()
        except SocketTrouble as trouble:
            self._fail(f"could not be started: {trouble}")
            return
        self._dirty = True
        self._run_commands("prepare", list(self.spec.prepare), self._spawn)

    def _open_sockets(self) -> None:
        for name, (address, sock) in list(self.sockets.items()):
            if self.spec.sockets.get(name) != address:
                close_socket(address, sock)
                del self.sockets[name]
        for name, address in self.spec.sockets.items():
            if name not in self.sockets:
                sock = open_socket(address, self.spec.user, self.spec.sockets_group)
                self.sockets[name] = (address, sock)

    def _spawn(self) -> None:
        spec = self.spec
        self._running = spec
        child = Child(
            name=spec.name,
            root=self.host.root,
            log=self.log,
            user=spec.user,
            groups=spec.groups,
            env=self._environment(),
            argv=spec.argv,
            call=None if spec.argv else partial(run_process, spec),
            sockets={name: sock for name, (_, sock) in self.sockets.items()},
            capabilities=spec.capabilities,
            mounts=spec.mounts,
            title=f"{spec.title} [{self.host.root}]",
            environment=spec.environment,
            zygote=spec.zygote,
        )
        self._python = self.host.python(spec.environment)
        try:
            pid, status = self.host.fork(child)
        except OSError as error:
            self._fail(f"could not be started: {error.strerror}")
            return
        self.born = time.time()
        self._session = pid
        self.machine.spawned(time.monotonic(), pid)
        self._setup_error = ""
        self._status = status
        self.host.loop.watch(status, READ, partial(self._read_status, status))
        self.host.loop.on_child(pid, partial(self._ended, status))
        if spec.probe is None:
            self._later(PROBELESS, self._well)
            return
        slow = min(self.machine.failures, TIMEOUT_FACTOR - 1) + 1
        self._limit_start(spec.probe.seconds * slow)
        if not isinstance(spec.probe, NotifyProbe):
            self.host.watch(self)

    def _environment(self) -> dict[str, str]:
        if isinstance(self.spec.probe, NotifyProbe):
            place = self.host.root / "run" / "supervisor" / "notify.sock"
            return {"NOTIFY_SOCKET": str(place), **self.spec.env}
        return self.spec.env

    def _read_status(self, status: int, events: int) -> None:
        """It was set up, or said why not: the end of the child tells the rest."""
        self._close_status(status)

    def _close_status(self, status: int) -> None:
        if self._status == status:
            self._status = None
            self.host.loop.unwatch(status)
            self._setup_error += read_status(status)

    def _well(self, note: str = "") -> None:
        if self.state in (State.STARTING, State.UNHEALTHY):
            self._cancel_timers()
            self.took = self.took or time.monotonic() - self._begun
            self.machine.ready(time.monotonic(), note)
            self._changed()
        elif self.state is State.READY:
            self.machine.detail = note

    def _limit_start(self, seconds: float) -> None:
        """Give up on a start after that long, or longer on a busy machine."""
        limit = seconds * busyness()
        left = limit - (time.monotonic() - self._begun)
        if left > 0.01:
            self._later(left, partial(self._limit_start, seconds))
        else:
            self._too_slow(time.monotonic() - self._begun)

    def _too_slow(self, seconds: float) -> None:
        reason = f" ({self._said_last})" if self._said_last else ""
        self._stop_failed(f"not ready after {duration(seconds)}{reason}")

    def probed(self, ok: bool, text: str, unreachable: bool) -> None:
        """What the prober found out."""
        now = time.monotonic()
        self._said_last = text
        if self.state not in (State.STARTING, State.READY, State.UNHEALTHY):
            return
        if ok:
            self._misses, self._deaf_since = 0, None
            self._well(text)
            return
        if self.state is State.STARTING:
            self.machine.detail = text
            return
        self._misses += 1
        self._deaf_since = (self._deaf_since or now) if unreachable else None
        if self.state is State.READY:
            if self._misses >= FAILED_PROBES:
                self.machine.unhealthy(now, text)
                self._changed()
            return
        self.machine.detail = text
        if self._deaf_since is not None and now - self._deaf_since >= DEAF:
            self._stop_failed(f"accepted no connection for {duration(now - self._deaf_since)}")

    # -- ending ----------------------------------------------------------

    def _stop_failed(self, why: str) -> None:
        self._cancel_timers()
        self.host.unwatch(self)
        self._failure = why
        self._signalled = False
        verb = "it was" if why.startswith("not") else "it"
        self.machine.stopping(time.monotonic(), f"{verb} {why}")
        self._changed()
        self.proceed_stopping()

    def _ended(self, status: int, code: int) -> None:
        """The main process is gone."""
        self._close_status(status)
        self.host.ended(self._session)
        now = time.monotonic()
        self._cancel_timers()
        self.host.unwatch(self)
        if self.state is State.STOPPING:
            self.machine.pid = None
            self._end_descendants(self._after_stop)
            return
        if self._setup_error:
            self.machine.exited(now, "could not be started")
            how = f"could not be started: {self._setup_error}"
        else:
            self.machine.exited(now, ended_how(code))
            how = self.machine.detail
        self._changed()
        self._end_descendants(partial(self._fail, how))

    def _end_descendants(self, then: Callable[[], None]) -> None:
        """End what it left running, if that is wanted; then go on.

        The supervisor is a subreaper: what a dead process leaves behind has
        become the supervisor's own child, in whatever session it is.
        """
        spec = self._running
        if not spec.kill_group or not self._dirty:
            then()
            return
        started = time.monotonic()
        sent: set[int] = set()

        def look() -> None:
            orphans = self.host.loop.strangers()
            left = proc.left_by(orphans, self.host.root, spec.name, self._session)
            if not left:
                then()
            elif time.monotonic() - started > DESCENDANTS_SECONDS:
                proc.send(left, signal.SIGKILL)
                self._later(0.05, look)
            else:
                proc.send(left - sent, signal.SIGTERM)
                sent.update(left)
                self._later(0.02, look)

        look()

    def _after_stop(self) -> None:
        self._cancel_timers()
        if self._failure:
            self._fail(self._failure)
            return
        commands = list(self._running.cleanup) if self._dirty else []
        self._dirty = False
        self._run_commands("cleanup", commands, self._cleaned)

    def _cleaned(self) -> None:
        self.machine.stopped(time.monotonic())
        self._stopped()

    def _stopped(self) -> None:
        if not (self.again or self.paused):
            self._close_sockets()
        self._changed()
        if self.again:
            self.again = False
            self.start()

    def _close_sockets(self) -> None:
        for address, sock in self.sockets.values():
            close_socket(address, sock)
        self.sockets.clear()

    def _fail(self, how: str) -> None:
        """It is down and should not be."""
        self._cancel_timers()
        if self.state is State.STOPPING and not self._failure:
            # meanwhile the operator wants it down, too
            self._after_stop()
            return
        self._failure, self.again = "", False
        lines = self.lines(1)
        last = lines[0].strip()[:300] if lines else ""
        # Nothing can be written: that goes by, and then all is to come back by itself.
        if full := disk_full(self.host.root):
            how = f"{how}, and the disk with {self.host.root} is full"
        elif full := self._begun_full and self.machine.was_quick:
            how = f"{how}, and the disk with {self.host.root} was full when it was started"
        delay = self.machine.failed(time.monotonic(), how, last, passing=full)
        if delay is None:
            self._close_sockets()
        else:
            self._later(delay, self._retry)
        self._changed()

    def _retry(self) -> None:
        self.machine.retry(time.monotonic())
        self._changed()

    # -- helpers ---------------------------------------------------------

    def _run_commands(
        self, kind: str, commands: list[tuple[str, ...]], then: Callable[[], None]
    ) -> None:
        """One after another, as root, with the process's log; then go on."""
        if not commands:
            then()
            return
        argv, *rest = commands
        child = Child(
            name=self.name,
            root=self.host.root,
            log=self.log,
            env=self.spec.env,
            argv=argv,
        )
        words = shlex.join(argv)
        if kind == "prepare":
            self.machine.detail = words
        try:
            pid, status = self.host.fork(child)
        except OSError as error:
            self._command_ended(kind, words, f"could not be started: {error.strerror}", rest, then)
            return
        self._command = pid
        late = self._later(COMMAND_SECONDS, partial(proc.send, [pid], signal.SIGKILL))

        def ended(code: int) -> None:
            late.cancel()
            self._command = None
            reason = read_status(status)
            how = f"could not be started: {reason}" if reason else ended_how(code) if code else ""
            self._command_ended(kind, words, how, rest, then)

        self.host.loop.on_child(pid, ended)

    def _command_ended(
        self,
        kind: str,
        words: str,
        how: str,
        rest: list[tuple[str, ...]],
        then: Callable[[], None],
    ) -> None:
        if kind == "prepare" and self.state is State.STOPPING:
            self._end_descendants(self._after_stop)
        elif kind == "prepare" and how:
            self._fail(f"its preparation `{words}` {how}")
        else:
            if how:
                log(f"{self.name}: the cleanup `{words}` {how}")
            if kind == "prepare":
                self.machine.detail = ""
            self._run_commands(kind, rest, then)

    def _later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = self.host.loop.later(seconds, call)
        self._timers = [t for t in self._timers if t.call] + [timer]
        return timer

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _changed(self) -> None:
        self.host.changed(self)
