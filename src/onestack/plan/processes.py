"""Steps around the supervisor: it runs, has this roster, and each process is ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onestack.components.base import Component, Context
from onestack.host.change import Change
from onestack.host.ledger import Ledger
from onestack.plan.patience import patiently
from onestack.plan.roster import roster_path
from onestack.plan.unit import ensure_unit, start_unit
from onestack.supervise.client import ProcessStatus, Supervisor
from onestack.supervise.spec import Process

DOWN = ("stopped", "fatal", "backoff")
PATIENCE = 120.0
"""Seconds at least for one process to get ready, tries that failed included."""


class Processes:
    """Of one context. With ``dry_run`` the supervisor is looked at and told nothing."""

    def __init__(self, ctx: Context, supervisor: Supervisor, dry_run: bool = False) -> None:
        self.ctx = ctx
        self.supervisor = supervisor
        self.dry_run = dry_run
        self._components: Mapping[str, Component] = {c.name: c for c in ctx.components}

    def explain(self, component: str, text: str) -> str | None:
        """What the component knows about its log's ``text``."""
        known = self._components.get(component)
        return known.explain(self.ctx, text) if known else None

    # -- the supervisor ----------------------------------------------------

    def ensure_supervisor(self, names: Sequence[str]) -> Iterator[Change]:
        """It runs our code and knows ``names``."""
        if self.ctx.host.systemd:
            yield from ensure_unit(self.ctx, Ledger.of(self.ctx.cloud))
        if not self.supervisor.running():
            yield Change("launch the supervisor", self._launch)
            return
        about = self.supervisor.details()
        if Path(about["program"]) != self.ctx.release.program.resolve():
            yield Change(
                "restart the supervisor and all processes: onestack's own code has changed",
                self._relaunch,
            )
            return
        known = [p["name"] for p in about["processes"]]
        added = [name for name in names if name not in known]
        removed = [name for name in known if name not in names]
        if added or removed:
            words = [f"adds {', '.join(added)}"] if added else []
            words += [f"removes {', '.join(removed)}"] if removed else []
            yield Change(f"load the roster, which {' and '.join(words)}", self._load)
        elif not self.dry_run:
            # Has it look at files and specs again; who is stale is told by the processes' steps.
            self._load()

    def _load(self) -> None:
        self.supervisor.load()

    def _launch(self) -> None:
        if self.ctx.host.systemd:
            start_unit(self.ctx.cloud, self.supervisor.running)
            return
        release = self.ctx.release
        self.supervisor.launch(
            release.services_python, release.program, roster_path(self.ctx.cloud)
        )

    def _relaunch(self) -> None:
        self.supervisor.shutdown()
        self._launch()

    # -- one process -------------------------------------------------------

    def status(self, name: str) -> ProcessStatus | None:
        return next((s for s in self.supervisor.status() if s.name == name), None)

    def ensure(self, spec: Process) -> Iterator[Change]:
        """``spec`` running as it is wanted now, and ready."""
        name = spec.name
        now = self.status(name)
        state = now.state if now else "stopped"
        if now and now.stale:
            yield Change(
                f"restart {name}: its configuration has changed",
                lambda: self._go(spec, restart=True),
            )
        elif state in DOWN:
            yield Change(f"start {name}", lambda: self._go(spec))
        elif state != "ready":
            yield Change(f"wait until {name} is ready ({state})", lambda: self._go(spec))

    def _go(self, spec: Process, restart: bool = False) -> None:
        if restart:
            self.supervisor.restart([spec.name])
        else:
            self.supervisor.start([spec.name])
        limit = 2 * spec.probe.seconds if spec.probe else 0.0
        self.wait([spec.name], max(PATIENCE, limit))

    def wait(self, names: Sequence[str], seconds: float) -> None:
        """Until all are ready. Raises `OnestackError`, or `Aborted` when the operator stops us."""
        patiently(
            lambda: self.supervisor.wait(names, seconds, explain=self.explain),
            f"waiting for {', '.join(names)}",
        )

    def ensure_ready(self) -> Iterator[Change]:
        """All that the supervisor has is ready, also those that were ready earlier in the run."""
        left = [s.name for s in self.supervisor.status() if s.state != "ready"]
        if left:
            yield Change(
                f"wait until {', '.join(left)} {'is' if len(left) == 1 else 'are'} ready",
                lambda: self.wait(left, PATIENCE),
            )
