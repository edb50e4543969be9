"""From a context to a cloud: steps, made of what the components say. Knows none by name."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onestack.cloud import CACHE
from onestack.cloudapi.identity import ensure_identity
from onestack.components.base import Component, Context, Database, explain
from onestack.host import netns
from onestack.host.change import Change
from onestack.host.files import ensure_file, ensure_no_file
from onestack.host.ledger import Ledger
from onestack.host.orphans import end_orphans
from onestack.plan import switched_off, timing
from onestack.plan.database import Schemas
from onestack.plan.dumps import Dumps
from onestack.plan.mariadb import Server, socket_of
from onestack.plan.patience import patiently
from onestack.plan.prepare import prepare_steps
from onestack.plan.processes import Processes
from onestack.plan.progress import Listener, Progress, tell
from onestack.plan.roster import roster_of, roster_path
from onestack.plan.runner import Runner
from onestack.plan.step import Outcome, Report, Result, Step
from onestack.supervise.client import Supervisor
from onestack.supervise.spec import Process, Roster


def up(
    ctx: Context,
    supervisor: Supervisor,
    *,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
    first: Iterable[Step] = (),
    purge: bool = False,
) -> Report:
    """Bring the machine to what the components of ``ctx`` want.

    ``first`` are the caller's own steps for the first half (they may need
    ``cloud``). With ``purge`` nothing is left of components that are switched
    off. In a dry run nothing is changed and the report has what would be.
    Timings are kept also of a run that failed. Raises `OnestackError`.
    """
    runner = Runner(Progress(listeners), dry_run)
    if not dry_run:
        end_orphans()
    try:
        runner.execute([*prepare_steps(ctx), *first])
        if ctx.cloud.netns and (netns.exists(ctx.cloud.netns) or not dry_run):
            # Threads and programs that start from now on are inside.
            netns.enter(ctx.cloud.netns)
        try:
            steps = cloud_steps(ctx, supervisor, dry_run, purge)
        except Exception:
            if not dry_run or not runner.report.changes:
                raise
            # A component wanted to look at what is not installed yet.
            runner.results["cloud's services"] = Result(
                "cloud's services", "Known once the above is there", Outcome.UNKNOWN
            )
            return runner.report
        runner.execute(steps)
        return runner.report
    finally:
        if not dry_run and ctx.cloud.etc.is_dir():
            timing.save(ctx.cloud.log, timing.of("up", runner.report))


def cloud_steps(
    ctx: Context, supervisor: Supervisor, dry_run: bool = False, purge: bool = False
) -> list[Step]:
    """The second half: files, supervisor, databases, processes, identity, tasks, ``ready``.

    It is run where packages, users and release are there already, so a
    component may look at them in any of its methods.
    """
    builder = _Builder(ctx, supervisor, dry_run)
    steps = [
        *builder.files(),
        Step("roster", "The list of processes", builder.roster),
        builder.supervisor_step(),
        *builder.databases(),
        *builder.process_steps(),
        *builder.identities(),
        *builder.tasks(),
        *builder.switched_off(purge),
    ]
    steps.append(
        Step(
            "ready",
            "Everything is ready",
            builder.processes.ensure_ready,
            tuple(step.name for step in steps if "ready" not in step.needs),
        )
    )
    return steps


class _Builder:
    """Steps of one context."""

    def __init__(self, ctx: Context, supervisor: Supervisor, dry_run: bool) -> None:
        self.ctx = ctx
        self.supervisor = supervisor
        self.ledger = Ledger.of(ctx.cloud)
        self.specs = {c.name: list(c.processes(ctx)) for c in ctx.components}
        self.dry_run = dry_run
        self.pending: set[str] = set()
        """Files that a dry run would write."""
        self.processes = Processes(ctx, supervisor, dry_run, self._differs)
        self.tasks_of = {c.name: list(c.tasks(ctx)) for c in ctx.components}
        self.clients = [
            c for c in ctx.components if "identity" not in c.provides and any(c.identity(ctx))
        ]
        self.databases_of = {c.name: list(c.databases(ctx)) for c in ctx.components}
        server = Server(socket_of(ctx.cloud))
        jobs = {d.name: d.sync for these in self.databases_of.values() for d in these}
        dumps = Dumps(CACHE / "schemas" / ctx.release.services_hash, server.socket, jobs)
        self.schemas = Schemas(server, dumps, ctx.release.site_packages, ctx.secrets.known, tell)

    def _all_files(self) -> tuple[str, ...]:
        return tuple(f"files:{c.name}" for c in self.ctx.components)

    def _provided(self, role: str) -> list[str]:
        """The processes of whoever provides ``role``."""
        return [
            f"process:{spec.name}"
            for c in self.ctx.components
            if role in c.provides
            for spec in self.specs[c.name]
        ]

    def files(self) -> Iterator[Step]:
        for component in self.ctx.components:
            yield Step(
                f"files:{component.name}",
                f"Configuration of {title(component)}",
                functools.partial(self._files, component),
            )

    def _files(self, component: Component) -> Iterator[Change]:
        for file in component.files(self.ctx):
            inside = file.path.is_relative_to(self.ctx.cloud.root)
            for change in ensure_file(
                file.path,
                file.content,
                mode=file.mode,
                group=file.group,
                ledger=None if inside else self.ledger,
            ):
                self.pending.add(str(file.path))
                yield change
        for path in component.former_files(self.ctx):
            yield from ensure_no_file(path)

    def _differs(self, spec: Process) -> bool:
        """Whether a process would get another configuration than it runs with."""
        text = self._roster()
        try:
            rosters = Roster.from_file(roster_path(self.ctx.cloud)), Roster.from_json(text)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        now, then = ({p.name: p for p in roster.processes}.get(spec.name) for roster in rosters)
        return now != then or bool(self.pending & set(spec.files))

    def _roster(self) -> str:
        return roster_of(self.ctx, self.specs).to_json()

    def roster(self) -> Iterator[Change]:
        # Only the supervisor, which is root, has to read it.
        yield from ensure_file(roster_path(self.ctx.cloud), self._roster(), mode=0o600)

    def supervisor_step(self) -> Step:
        specs = [spec for specs in self.specs.values() for spec in specs]
        return Step(
            "supervisor",
            "The supervisor",
            lambda: self.processes.ensure_supervisor(specs),
            # It looks at the files when it is told of the roster.
            ("roster", *self._all_files()),
        )

    def databases(self) -> Iterator[Step]:
        for component in self.ctx.components:
            for database in self.databases_of[component.name]:
                yield Step(
                    f"database:{database.name}",
                    f"Database {database.name}",
                    functools.partial(self._database, component, database),
                    (
                        "supervisor",
                        *self._all_files(),
                        *self._provided("database"),
                        *(f"database:{name}" for name in database.after),
                        *([f"database:{database.within}"] if database.within else ()),
                    ),
                )

    def _database(self, component: Component, database: Database) -> Iterator[Change]:
        job = Migration(self.supervisor, f"database-{database.name}", component, self.ctx)
        password = self.ctx.secrets[f"{database.user}_db"]
        yield from self.schemas.ensure(database, password, job)

    def process_steps(self) -> Iterator[Step]:
        running = self.processes.at_work()
        for component in self.ctx.components:
            before = [
                *(f"database:{d.name}" for d in self.databases_of[component.name]),
                *(
                    f"{component.name}:{t.name}"
                    for t in self.tasks_of[component.name]
                    if t.before_start
                ),
            ]
            if component in self.clients:
                # A service whose own user is not there yet logs failures from its first request on.
                before.append(f"identity:{component.name}")
                # One that runs is restarted for another's new password when that holds.
                before += [f"identity:{c.name}" for c in self.clients if running]
            for spec in self.specs[component.name]:
                yield Step(
                    f"process:{spec.name}",
                    f"Process {spec.title}",
                    functools.partial(self.processes.ensure, spec),
                    (
                        "supervisor",
                        *self._all_files(),
                        *before,
                        *(f"process:{need}" for need in spec.needs),
                    ),
                )

    def _identity_provided(self) -> tuple[str, ...]:
        providers = [c for c in self.ctx.components if "identity" in c.provides]
        return (
            "supervisor",
            *self._provided("identity"),
            *(f"{c.name}:{t.name}" for c in providers for t in self.tasks_of[c.name]),
        )

    def switched_off(self, purge: bool) -> Iterator[Step]:
        if not any("identity" in c.provides for c in self.ctx.components):
            return
        identity = self._identity_provided()
        catalog = list(switched_off.catalog_steps(self.ctx, identity))
        yield from catalog
        if purge:
            # After all others: some may have had to let go of it first.
            processes = [f"process:{spec.name}" for specs in self.specs.values() for spec in specs]
            needs = (*identity, *processes, *(step.name for step in catalog))
            yield from switched_off.purge_steps(self.ctx, self.schemas.server, needs)

    def identities(self) -> Iterator[Step]:
        before = self._identity_provided()
        for component in self.ctx.components:
            if any(True for _ in component.identity(self.ctx)):
                yield Step(
                    f"identity:{component.name}",
                    f"Users and endpoints of {title(component)}",
                    functools.partial(self._identity, component),
                    before,
                )

    def _identity(self, component: Component) -> Iterator[Change]:
        for identity in component.identity(self.ctx):
            yield from ensure_identity(self.ctx, identity)

    def tasks(self) -> Iterator[Step]:
        known = {"packages", "users", "release"}
        for component in self.ctx.components:
            for task in self.tasks_of[component.name]:
                yield Step(
                    f"{component.name}:{task.name}",
                    f"{title(component)}: {task.name}",
                    task.ensure,
                    # The first half of the run is over by then.
                    tuple(need for need in task.needs if need not in known),
                )


@dataclass(frozen=True)
class Migration:
    """A database's migrations as a job of the supervisor's: `onestack.plan.database.Job`."""

    supervisor: Supervisor
    name: str
    component: Component
    ctx: Context

    def __call__(self, run: str, arguments: dict[str, Any]) -> None:
        # Stopped meanwhile, the job goes on; the next run waits for it.
        patiently(
            lambda: self.supervisor.job(
                run=run,
                user=self.ctx.cloud.user(self.component.name),
                arguments=arguments,
                log=self.name,
                explain=lambda log, text: explain(self.ctx, self.component.name, text),
            ),
            self.name,
        )

    def running(self) -> bool:
        return any(job["name"] == self.name for job in self.supervisor.details()["jobs"])


def title(component: Component) -> str:
    return component.title or component.name
