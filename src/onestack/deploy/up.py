"""From a context to a cloud: steps, made of what the components say. Knows none by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from onestack.cloudapi.identity import ensure_identity
from onestack.database.dumps import Dumps
from onestack.database.schemas import Schemas
from onestack.database.server import server_of
from onestack.deploy import switched_off
from onestack.deploy.jobs import Migration
from onestack.deploy.prepare import another_time, prepare_steps, wanted_of
from onestack.deploy.processes import Processes
from onestack.deploy.roster import processes_of, roster_of, roster_path, seen
from onestack.deploy.supervisor import SupervisorClient
from onestack.engine import timing
from onestack.engine.progress import Listener, Progress, tell
from onestack.engine.runner import Runner
from onestack.engine.step import Outcome, RunReport, Step, StepResult
from onestack.host import netns
from onestack.host.facts import HostFacts
from onestack.host.files import ensure_file, ensure_no_file
from onestack.host.ledger import Ledger
from onestack.host.orphans import end_orphans
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.declarations import Database, Scope, Task
from onestack.model.declared import Declared
from onestack.model.errors import NotInstalled, OnestackError
from onestack.model.host import Host, Role
from onestack.model.process import Process, Roster
from onestack.model.secret import WITHHELD


def up(
    ctx: Context,
    supervisor: SupervisorClient,
    *,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
    first: Iterable[Step] = (),
    purge: bool = False,
    gather: Callable[[], HostFacts] | None = None,
    check: Callable[[Context], object] = lambda ctx: None,
) -> RunReport:
    """Bring the machine to what the components of ``ctx`` want.

    ``first`` are the caller's own steps for the first half (they may need
    ``cloud``). With ``purge`` nothing is left of components that are switched
    off. ``gather`` tells the facts of the machine anew, once the first half has changed it;
    ``check`` raises where it is not fit for what is wanted of it by them.
    In a dry run nothing is changed and the report has what would be.
    Timings are kept also of a run that failed. Raises `OnestackError`.
    """
    runner = Runner(Progress(listeners), dry_run, ctx.run)
    if not dry_run:
        end_orphans()
    try:
        runner.execute([*prepare_steps(ctx), *first])
        if gather and runner.report.changes and not dry_run:
            ctx = _settled(ctx, runner, gather, check)
        if ctx.cloud.netns and (netns.exists(ctx.cloud.netns) or not dry_run):
            # Threads and programs that start from now on are inside.
            netns.enter(ctx.cloud.netns)
        try:
            steps = cloud_steps(ctx, supervisor, dry_run, purge)
        except NotInstalled:
            if not dry_run or not runner.report.changes:
                raise
            runner.results["cloud's services"] = StepResult(
                "cloud's services", "Known once the above is there", Outcome.UNKNOWN
            )
            return runner.report
        runner.execute(steps)
        return runner.report
    finally:
        if not dry_run and ctx.cloud.etc.is_dir():
            timing.save(ctx.cloud.log, timing.of("up", runner.report))


def _settled(
    ctx: Context,
    runner: Runner,
    gather: Callable[[], HostFacts],
    check: Callable[[Context], object],
) -> Context:
    """The context by the facts that the first half has made.

    What is decided by them may be another thing than before: without apt's lists, which
    version of a package would come is not known until it has. What only then turns out to be
    wanted is made by a second first half; there is no third. Raises `OnestackError`.
    """
    now = with_facts(ctx, gather())
    further = wanted_of(now) - wanted_of(ctx)
    if not further:
        return now
    tell("by what was installed more is needed than was known before")
    check(now)
    runner.execute(another_time(prepare_steps(now), runner.results))
    last = with_facts(now, gather())
    if still := wanted_of(last) - wanted_of(now):
        raise OnestackError(
            "what the cloud wants of this machine does not settle",
            f"made ready twice, it still lacks {', '.join(sorted(still))}",
            "run the same command again",
        )
    return last


def with_facts(ctx: Context, facts: HostFacts) -> Context:
    """The same context of a machine of which other facts are known now."""
    host = dataclasses.replace(ctx.host, facts=facts)
    if not ctx.joined:
        host = dataclasses.replace(host, addresses=Host.alone(ctx.cloud, facts).addresses)
    return dataclasses.replace(ctx, host=host)


def cloud_steps(
    ctx: Context, supervisor: SupervisorClient, dry_run: bool = False, purge: bool = False
) -> list[Step]:
    """The second half: files, supervisor, databases, processes, identity, tasks, ``ready``.

    It is run where packages, users and release are there already, so a
    component may look at them in any of its methods.
    """
    builder = _Builder(ctx, supervisor, dry_run)
    steps = [
        *builder.files(),
        builder.supervisor_step(),
        *builder.databases(),
        *builder.process_steps(),
        *builder.identities(),
        *builder.tasks(),
        *builder.switched_off(purge),
    ]
    # What another host does is done before this one is brought up, or by itself.
    elsewhere = builder.elsewhere()
    steps = [
        dataclasses.replace(step, needs=tuple(need for need in step.needs if need not in elsewhere))
        for step in steps
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

    def __init__(self, ctx: Context, supervisor: SupervisorClient, dry_run: bool) -> None:
        self.ctx = ctx
        self.supervisor = supervisor
        self.ledger = Ledger.of(ctx.cloud)
        ctx.model.evaluate()
        self.model = ctx.model
        self.specs = processes_of(ctx)
        self.controller = ctx.here({Role.CONTROLLER})
        """Whether what is the cloud's, and not a host's, is done here."""
        self.dry_run = dry_run
        self.pending: set[str] = set()
        """Files that a dry run would write."""
        self.processes = Processes(ctx, supervisor, dry_run, self._differs)
        self.clients = [d for d in self.model if d.identity and not provides(d, "identity")]

    @functools.cached_property
    def schemas(self) -> Schemas:
        ctx, server = self.ctx, server_of(self.ctx)
        jobs = {d.name: d.sync for declared in self.model for d in declared.databases}
        services = ctx.release.services
        dumps = Dumps(CACHE / "schemas" / services.digest, server.socket, jobs)
        return Schemas(server, dumps, services.site_packages, ctx.secrets.known, tell)

    def _done_here(self, declared: Declared, task: Task) -> bool:
        if task.scope is Scope.CLOUD:
            return self.controller
        return self.ctx.here(declared.component.roles)

    def elsewhere(self) -> frozenset[str]:
        """Steps that are another host's."""
        here = {spec.name for specs in self.specs.values() for spec in specs}
        found = [
            f"process:{spec.name}"
            for declared in self.model
            for spec in declared.processes
            if spec.name not in here
        ]
        for declared in self.model:
            found += [
                f"{declared.name}:{task.name}"
                for task in declared.tasks
                if not self._done_here(declared, task)
            ]
            if not self.controller:
                found += [f"database:{database.name}" for database in declared.databases]
                found.append(f"identity:{declared.name}")
        return frozenset(found)

    def _all_files(self) -> tuple[str, ...]:
        return tuple(f"files:{declared.name}" for declared in self.model)

    def _provided(self, capability: str) -> list[str]:
        """All processes of whoever provides it."""
        return [
            f"process:{spec.name}"
            for declared in self.model
            if provides(declared, capability)
            for spec in self.specs[declared.name]
        ]

    def files(self) -> Iterator[Step]:
        for declared in self.model:
            yield Step(
                f"files:{declared.name}",
                f"Configuration of {declared.title}",
                functools.partial(self._files, declared),
            )

    def _files(self, declared: Declared) -> Iterator[Change]:
        for file in declared.files:
            if not self.ctx.here(file.roles or declared.component.roles):
                continue
            if WITHHELD in file.content:
                raise ValueError(f"{file.path} wants a secret that this host may not know")
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
        for path in switched_off.former_files(declared):
            yield from ensure_no_file(path)

    def _differs(self, spec: Process) -> bool:
        """Whether a process would get another configuration than it runs with."""
        text = self._roster()
        try:
            rosters = Roster.from_file(roster_path(self.ctx.cloud)), Roster.from_json(text)
        except (OSError, ValueError):
            return False
        now, then = ({p.name: p for p in roster.processes}.get(spec.name) for roster in rosters)
        return now != then or bool(self.pending & set(spec.files))

    def _roster(self) -> str:
        return roster_of(self.ctx, self.specs).to_json()

    def supervisor_step(self) -> Step:
        specs = [spec for specs in self.specs.values() for spec in specs]
        return Step(
            "supervisor",
            "The supervisor",
            lambda: self.processes.ensure_supervisor(specs, self._roster()),
            # It looks at the files when it is told of the roster; and where one of them
            # fails, what runs keeps the roster that it can read.
            self._all_files(),
        )

    def databases(self) -> Iterator[Step]:
        for declared in self.model if self.controller else ():
            for database in declared.databases:
                yield Step(
                    f"database:{database.name}",
                    f"Database {database.name}",
                    functools.partial(self._database, declared, database),
                    (
                        "supervisor",
                        *self._all_files(),
                        *self._provided("database"),
                        *(f"database:{name}" for name in database.after),
                        *([f"database:{database.within}"] if database.within else ()),
                    ),
                )

    def _database(self, declared: Declared, database: Database) -> Iterator[Change]:
        job = Migration(self.ctx, self.supervisor, declared.name, database)
        password = self.ctx.secrets[f"{database.user}_db"]
        schemas = self._schemas(database.environment)
        quiet = functools.partial(self.processes.quiet, self.specs[declared.name], database.name)
        yield from schemas.ensure(database, password, job, quiet)

    def _schemas(self, environment: str) -> Schemas:
        """With the migrations, and the schemas kept of them, of this environment."""
        found = self.ctx.release.environment(environment)
        # A dry run may come here before it is made.
        packages = found.path("")
        folder = CACHE / "schemas" / found.digest
        dumps = dataclasses.replace(self.schemas.dumps, folder=folder)
        return dataclasses.replace(self.schemas, dumps=dumps, site_packages=packages)

    def process_steps(self) -> Iterator[Step]:
        running = self.processes.at_work()
        for declared in self.model:
            before = [
                *(f"database:{d.name}" for d in declared.databases),
                *(f"{declared.name}:{t.name}" for t in declared.tasks if t.before_start),
            ]
            if declared in self.clients:
                # A service whose own user is not there yet logs failures from its first request on.
                before.append(f"identity:{declared.name}")
                # One that runs is restarted for another's new password when that holds.
                before += [f"identity:{c.name}" for c in self.clients if running]
            for spec in self.specs[declared.name]:
                yield Step(
                    f"process:{spec.name}",
                    f"Process {spec.title}",
                    functools.partial(self.processes.ensure, spec),
                    (
                        "supervisor",
                        *self._all_files(),
                        *before,
                        *(f"process:{need}" for need in spec.needs),
                        *(task for store in seen(self.ctx, spec) for task in store.after),
                    ),
                )

    def _identity_provided(self) -> tuple[str, ...]:
        providers = [d for d in self.model if provides(d, "identity")]
        return (
            "supervisor",
            *self._provided("identity"),
            *(f"{d.name}:{t.name}" for d in providers for t in d.tasks),
        )

    def switched_off(self, purge: bool) -> Iterator[Step]:
        if not self.ctx.offers("identity") or not self.controller:
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
        for declared in self.model if self.controller else ():
            if declared.identity:
                yield Step(
                    f"identity:{declared.name}",
                    f"Users and endpoints of {declared.title}",
                    functools.partial(self._identity, declared),
                    before,
                )

    def _identity(self, declared: Declared) -> Iterator[Change]:
        for identity in declared.identity:
            yield from ensure_identity(self.ctx, identity)

    def tasks(self) -> Iterator[Step]:
        known = {"packages", "users", "release"}
        for declared in self.model:
            for task in declared.tasks:
                if not self._done_here(declared, task):
                    continue
                yield Step(
                    f"{declared.name}:{task.name}",
                    f"{declared.title}: {task.name}",
                    task.ensure,
                    # The first half of the run is over by then.
                    tuple(n for need in task.needs if need not in known for n in self._need(need)),
                )

    def _need(self, need: str) -> Iterator[str]:
        """``need`` of a task as steps: see `Task`."""
        kind, _, name = need.partition(":")
        if kind not in ("capability", "provider"):
            yield need
            return
        offer = self.ctx.capabilities[name]
        yield from (f"process:{process}" for process in offer.processes)
        yield from offer.tasks
        yield from (f"identity:{d.name}" for d in self.clients if provides(d, name))
        if kind == "provider":
            yield from self._provided(name)


def provides(declared: Declared, capability: str) -> bool:
    return any(offer.name == capability for offer in declared.provides)
