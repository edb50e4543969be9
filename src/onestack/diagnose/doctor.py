"""What is wrong with a cloud, and what would mend it: machine, processes, logs, pool."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onestack.diagnose import logscan, preflight
from onestack.diagnose.exposure import exposed
from onestack.diagnose.logscan import Trouble
from onestack.host.facts import disk_free
from onestack.kernel.disk import FULL
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, refusals, refuse
from onestack.model.process import Process
from onestack.storage import volumes
from onestack.storage.store import PoolFacts
from onestack.supervise import logs
from onestack.supervise.client import Client, OtherVersion
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State

Explain = Callable[[str, str], str | None]


@dataclass(frozen=True)
class Patient:
    """A process that is not ready, with its last lines and what may be behind them."""

    status: ProcessStatus
    lines: tuple[str, ...]
    likely: str | None


@dataclass(frozen=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    """What is said of the running cloud: of its supervisor, and by components."""
    running: bool
    """Whether the cloud's supervisor runs."""
    ready: int
    patients: tuple[Patient, ...]
    troubles: tuple[Trouble, ...]
    pool: PoolFacts | None
    pool_problem: str = ""
    drift: tuple[str, ...] = ()
    """What `up` would change: a certificate that ends soon, a file that was edited."""

    @property
    def well(self) -> bool:
        """Errors in logs count when their cause is known: upstream also calls harmless ones so."""
        known = [t for t in self.troubles if t.likely]
        return self.running and not (
            refusals([*self.findings, *self.remarks]) or self.patients or known or self.pool_problem
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "well": self.well,
            "machine": [f.to_json() for f in self.findings],
            "remarks": [f.to_json() for f in self.remarks],
            "running": self.running,
            "ready": self.ready,
            "processes": [
                {"name": p.status.name, "sentence": p.status.sentence, "likely": p.likely}
                for p in self.patients
            ],
            "errors": [dataclasses.asdict(t) for t in self.troubles],
            "pool": dataclasses.asdict(self.pool) if self.pool else None,
            "pool_problem": self.pool_problem,
            "drift": list(self.drift),
        }


def examine(
    ctx: Context,
    supervisor: Client,
    processes: Sequence[Process],
    explain: Explain,
    since: datetime.datetime,
) -> Diagnosis:
    """Look at all of it; changes nothing. Errors in logs from before ``since`` do not count."""
    running = supervisor.running()
    statuses, unread = _statuses(supervisor) if running else ([], ())
    patients = []
    for status in statuses:
        if status.state is State.READY:
            continue
        lines = tuple(logs.last_lines(ctx.cloud.log / f"{status.name}.log", 5))
        text = "\n".join((status.sentence, *lines))
        patients.append(Patient(status, lines, explain(status.component, text)))
    facts, problem = _pool(ctx)
    remarks = (*unread, *health(ctx), *exposed(ctx)) if running else ()
    # What is said of the running cloud is not said of the machine again.
    told = {(remark.what, remark.why) for remark in remarks}
    machine = (
        *preflight.examine(ctx.cloud, ctx.facts, preflight.needs_of(ctx)),
        *preflight.component_checks(ctx),
    )
    return Diagnosis(
        findings=(*full_disk(ctx), *(f for f in machine if (f.what, f.why) not in told)),
        remarks=remarks,
        running=running,
        ready=sum(s.state is State.READY for s in statuses),
        patients=tuple(patients),
        troubles=tuple(
            logscan.scan(ctx.cloud.log, [(p.name, p.component) for p in processes], explain, since)
        ),
        pool=facts,
        pool_problem=problem,
        # Last: it enters the cloud's network.
        drift=tuple(_drift(ctx, supervisor)) if running else (),
    )


def full_disk(ctx: Context) -> list[Finding]:
    """Told first: it is behind all else that is wrong then."""
    root = ctx.cloud.root
    free = disk_free(root)
    if free >= FULL:
        return []
    return [
        refuse(
            f"the disk with {root} is full",
            f"{free >> 10} KiB are free; the message bus takes nothing below {FULL >> 20} MiB, and "
            "with less services can write neither data nor logs",
            f"make room (df -h {root}; du -xh -d2 {root} | sort -h | tail) until more than "
            f"{FULL >> 20} MiB are free: a minute or two later all goes on by itself. Logs are "
            f"made shorter (truncate -s 0 {ctx.cloud.log}/NAME.log) and not removed: who has one "
            "open goes on writing into the removed one",
        )
    ]


def health(ctx: Context) -> list[Finding]:
    return preflight.asked(ctx, "how it is", lambda component: component.health_checks(ctx))


def _statuses(supervisor: Client) -> tuple[list[ProcessStatus], tuple[Finding, ...]]:
    """Of all processes; or why they cannot be told."""
    try:
        return supervisor.status(), ()
    except OtherVersion as error:
        return [], (refuse(error.what, error.why, error.cure),)


def _drift(ctx: Context, supervisor: Client) -> list[str]:
    # Imported late: the verb's options are read where only the standard library is.
    from onestack.deploy import up

    try:
        return [what for _, what in up.up(ctx, supervisor, dry_run=True).changes]
    except OnestackError as error:
        if error.traceback and not full_disk(ctx):
            raise
        # What keeps `up` from looking is told by the other findings.
        return [f"cannot be told: {error.what}"]
    except OSError as error:
        return [f"cannot be told: {error}"]


def _pool(ctx: Context) -> tuple[PoolFacts | None, str]:
    try:
        return volumes.facts(ctx.cloud.root), ""
    except OnestackError as error:
        return None, "; ".join(filter(None, (error.what, error.why, error.cure)))
