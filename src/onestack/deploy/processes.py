"""Steps around the supervisor: it runs, has this roster, and each process is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from onestack.deploy.roster import roster_path
from onestack.deploy.supervisor import SupervisorClient
from onestack.deploy.unit import ensure_unit, start_unit, stop_unit, unit_at_work
from onestack.engine.interruptible import patiently
from onestack.host.files import ensure_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.process import Process
from onestack.supervise.client import OtherVersion
from onestack.supervise.protocol import ProcessStatus, SupervisorStatus
from onestack.supervise.states import State

DOWN = (State.STOPPED, State.FATAL, State.BACKOFF)
READY_TIMEOUT = 120.0
"""Seconds at least for one process to get ready, tries that failed included."""


def about(supervisor: SupervisorClient, program: Path) -> SupervisorStatus | None:
    """What the supervisor says; nothing if it runs other code of ours than ``program``.

    Raises `NotRunning`.
    """
    try:
        said = supervisor.details()
    except OtherVersion:
        return None
    return said if Path(said.program) == program.resolve() else None


class Processes:
    """Of one context. With ``dry_run`` the supervisor is looked at and told nothing."""

    def __init__(
        self,
        ctx: Context,
        supervisor: SupervisorClient,
        dry_run: bool = False,
        differs: Callable[[Process], bool] = lambda spec: False,
    ) -> None:
        """``differs``: in a dry run, whether the process would get another configuration."""
        self.ctx = ctx
        self.supervisor = supervisor
        self.dry_run = dry_run
        self._differs = differs
        self._paused: set[str] = set()

    def explain(self, component: str, text: str) -> str | None:
        return self.ctx.model.likely(component, text)

    def at_work(self) -> bool:
        """Whether the cloud's processes run, and go on running."""
        return self.supervisor.running() and self._about() is not None

    def _about(self) -> SupervisorStatus | None:
        return about(self.supervisor, self.ctx.release.program)

    # -- the supervisor ----------------------------------------------------

    def ensure_supervisor(self, specs: Sequence[Process], roster: str) -> Iterator[Change]:
        """It runs our code and has the ``roster`` of ``specs``; what is to start anew is down.

        All of it is stopped together, in order, before databases, users and processes
        are seen to: passwords change while nobody uses the old one, and nothing is
        left to find its database or bus gone.
        """
        # Right before it is told: what a crash or a boot in between would start must read it.
        if self.ctx.facts.systemd:
            yield from ensure_unit(self.ctx, Ledger.of(self.ctx.cloud))
        # Only the supervisor, which is root, has to read it.
        yield from ensure_file(roster_path(self.ctx.cloud), roster, mode=0o600)
        if not self.supervisor.running():
            yield Change("launch the supervisor", self._launch)
            return
        said = self._about()
        if said is None:
            yield Change(
                "restart the supervisor and all processes: onestack's own code has changed",
                self._relaunch,
            )
            return
        names = [spec.name for spec in specs]
        known = [process.name for process in said.processes]
        added = [name for name in names if name not in known]
        removed = [name for name in known if name not in names]
        if added or removed:
            words = [f"adds {', '.join(added)}"] if added else []
            words += [f"removes {', '.join(removed)}"] if removed else []
            yield Change(
                f"load the roster, which {' and '.join(words)}", lambda: self._load(removed)
            )
        elif not self.dry_run:
            # Has it look at files and specs again.
            self._load(())
        yield from self._pause(specs)

    def _pause(self, specs: Sequence[Process]) -> Iterator[Change]:
        running = {s.name: s for s in self.supervisor.status() if s.state not in DOWN}
        stale = [
            spec.name
            for spec in specs
            if spec.name in running
            and (self._differs(spec) if self.dry_run else running[spec.name].stale)
        ]
        if stale:
            self._paused.update(stale)
            yield Change(
                f"stop what gets another configuration: {', '.join(stale)}",
                lambda: self.supervisor.pause(stale),
            )

    def quiet(self, specs: Sequence[Process], database: str) -> Iterator[Change]:
        """None of ``specs`` works in the database; `ensure` starts them again."""
        names = [spec.name for spec in specs]
        down = (State.STOPPED, State.FATAL)
        running = [s.name for s in self._statuses(names) if s.state not in down]
        if running:
            listed = ", ".join(running)
            yield Change(
                f"stop what works in the database {database}: {listed}",
                lambda: patiently(lambda: self.supervisor.stop(running), f"stopping {listed}"),
            )

    def _load(self, removed: Sequence[str]) -> None:
        if removed:
            patiently(lambda: self.supervisor.stop(removed), f"stopping {', '.join(removed)}")
        self.supervisor.load()

    def _launch(self) -> None:
        if self.ctx.facts.systemd:
            start_unit(self.ctx.cloud, self.supervisor.running)
            return
        release = self.ctx.release
        self.supervisor.launch(
            release.services.python, release.program, roster_path(self.ctx.cloud)
        )

    def _relaunch(self) -> None:
        # Not behind systemd's back: it would start it again at once, with all processes.
        if self.ctx.facts.systemd and unit_at_work(self.ctx.cloud):
            stop_unit(self.ctx.cloud)
        self.supervisor.shutdown()
        self._launch()

    def _statuses(self, names: Sequence[str] | None = None) -> Sequence[ProcessStatus]:
        """None of one that speaks otherwise, which only a dry run leaves where it is."""
        try:
            return self.supervisor.status(names)
        except OtherVersion:
            return ()

    # -- one process -------------------------------------------------------

    def ensure(self, spec: Process) -> Iterator[Change]:
        """``spec`` running as it is wanted now, and ready."""
        name = spec.name
        now = next(iter(self._statuses([name])), None)
        state = now.state if now else State.STOPPED
        if name in self._paused:
            yield Change(f"start {name} with its new configuration", lambda: self._go(spec))
        elif now and now.stale:
            # Since the supervisor looked, such as by a certificate that was renewed.
            yield Change(
                f"restart {name}: its configuration has changed",
                lambda: self._go(spec, restart=True),
            )
        elif state in DOWN:
            yield Change(f"start {name}", lambda: self._go(spec))
        elif state is not State.READY:
            yield Change(f"wait until {name} is ready ({state.value})", lambda: self._go(spec))

    def _go(self, spec: Process, restart: bool = False) -> None:
        if restart:
            self.supervisor.restart([spec.name])
        else:
            self.supervisor.start([spec.name])
        limit = 2 * spec.probe.seconds if spec.probe else 0.0
        self.wait([spec.name], max(READY_TIMEOUT, limit))

    def wait(self, names: Sequence[str], seconds: float) -> None:
        """Until all are ready. Raises `OnestackError`, or `Aborted` when the operator stops us."""
        patiently(
            lambda: self.supervisor.wait(names, seconds, explain=self.explain),
            f"waiting for {', '.join(names)}",
        )

    def ensure_ready(self) -> Iterator[Change]:
        """All that the supervisor has is ready, also those that were ready earlier in the run."""
        left = [s.name for s in self._statuses() if s.state is not State.READY]
        if left:
            yield Change(
                f"wait until {', '.join(left)} {'is' if len(left) == 1 else 'are'} ready",
                lambda: self.wait(left, READY_TIMEOUT),
            )
