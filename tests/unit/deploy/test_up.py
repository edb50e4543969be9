"""From components to steps, and through them, with toys."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from onestack.database import schemas
from onestack.database.server import Server
from onestack.deploy import prepare, processes, switched_off, up
from onestack.deploy.jobs import Migration
from onestack.deploy.processes import Processes
from onestack.deploy.roster import ports, processes_of, roster_of, roster_path, tcp_of
from onestack.engine.graph import Graph, GraphError
from onestack.engine.runner import Runner, StepsFailed
from onestack.engine.step import Outcome, Step
from onestack.host.facts import HostFacts
from onestack.model.change import Change
from onestack.model.cloud import FORMAT, Cloud
from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Identity,
    StoreMount,
    Task,
)
from onestack.model.errors import NotInstalled, OnestackError
from onestack.model.process import Process, Roster, ZygoteSpec
from onestack.supervise.states import State
from tests.support.environments import make
from tests.support.needs import needs_root
from tests.unit.deploy.toys import (
    Doors,
    Rooms,
    Secrets,
    Store,
    Supervisor,
    context,
)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context(tmp_path)


@pytest.fixture
def supervisor(ctx: Context) -> Supervisor:
    return Supervisor(ctx)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Databases and identities as they are made, by no server."""
    made: list[str] = []

    def ensure(
        self: schemas.Schemas,
        wanted: Database,
        password: str,
        job: schemas.MigrationJob,
        quiet: Callable[[], Iterable[Change]],
    ) -> Iterator[Change]:
        if f"widen {wanted.name}" in made:
            made.remove(f"widen {wanted.name}")
            yield from quiet()
        assert password == f"secret of {wanted.user}_db"
        if wanted.name not in made:
            yield Change(f"make {wanted.name}", lambda: made.append(wanted.name))

    def identity(ctx: Context, wanted: Identity) -> Iterator[Change]:
        user = f"user {wanted.user}"
        if user not in made:
            yield Change(f"let {wanted.user} in", lambda: made.append(user))

    monkeypatch.setattr(schemas.Schemas, "ensure", ensure)
    monkeypatch.setattr(up, "ensure_identity", identity)
    return made


def steps(ctx: Context, supervisor: Supervisor) -> dict[str, Step]:
    found = up.cloud_steps(ctx, supervisor)
    Graph(found)
    return {step.name: step for step in found}


def run(ctx: Context, supervisor: Supervisor, dry_run: bool = False) -> Runner:
    runner = Runner(dry_run=dry_run)
    runner.execute(up.cloud_steps(ctx, supervisor, dry_run))
    return runner


def test_what_waits_for_what(ctx: Context, supervisor: Supervisor) -> None:
    found = steps(ctx, supervisor)
    graph = Graph(found.values())

    def before(name: str) -> set[str]:
        return graph.above(name)

    files = {"files:store", "files:doors", "files:rooms"}
    assert set(found["supervisor"].needs) == files
    assert {"supervisor", "process:stored", *files} <= set(found["database:doors"].needs)
    assert "database:doors" in found["database:rooms"].needs
    assert set(found["process:doors-api"].needs) == {
        "supervisor",
        *files,
        "database:doors",
        "doors:keys",
        "process:stored",
    }
    assert "store:data" in found["process:stored"].needs
    assert {"process:doors-api", "doors:project"} <= set(found["identity:rooms"].needs)
    assert found["doors:keys"].needs == ()
    assert set(found["rooms:paint"].needs) == {"identity:rooms", "process:rooms-api"}
    assert before("ready") == set(found) - {"ready", "rooms:visit"}
    assert before("rooms:visit") == set(found) - {"rooms:visit"}
    assert "identity:store" not in found


def test_a_task_with_an_unknown_need_is_a_mistake(tmp_path: Path) -> None:
    class Wrong(Component):
        name = "wrong"

        def tasks(self, ctx: Context) -> Iterator[Task]:
            yield Task("x", lambda: iter(()), ("process:nobody",))

    ctx = context(tmp_path, Wrong())
    with pytest.raises(GraphError, match="'wrong:x' needs 'process:nobody'"):
        steps(ctx, Supervisor(ctx))


@needs_root
def test_up_and_up_again(ctx: Context, supervisor: Supervisor, made: list[str]) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    first = run(ctx, supervisor).report
    assert supervisor.said == ["launch", "start stored", "start doors-api", "start rooms-api"]
    assert made.index("doors") < made.index("rooms")
    assert ("rooms:paint", "paint the rooms") in first.changes
    assert (ctx.cloud.etc / "doors.conf").read_text() == "public = 192.0.2.2\n"
    second = run(ctx, supervisor).report
    assert second.changes == []
    assert len(second.results) == len(first.results)


@needs_root
def test_only_what_is_stale_or_down_is_touched(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    supervisor.said.clear()
    supervisor.stale.add("doors-api")
    supervisor.states["rooms-api"] = State.FATAL
    changes = run(ctx, supervisor).report.changes
    assert changes == [
        ("supervisor", "stop what gets another configuration: doors-api"),
        ("process:doors-api", "start doors-api with its new configuration"),
        ("process:rooms-api", "start rooms-api"),
    ]
    assert supervisor.said == ["pause doors-api", "start doors-api", "start rooms-api"]
    supervisor.states["stored"] = State.STARTING
    assert run(ctx, supervisor).report.changes == [
        ("process:stored", "wait until stored is ready (starting)")
    ]


@needs_root
def test_a_password_changes_while_nobody_uses_it(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    """Stopped together, in the middle the users, then started."""
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    supervisor.said.clear()
    supervisor.stale |= {"doors-api", "rooms-api"}
    made.remove("rooms")
    changes = [what for _, what in run(ctx, supervisor).report.changes]
    assert changes[0] == "stop what gets another configuration: doors-api, rooms-api"
    assert {*changes[1:3]} == {"make rooms", "start doors-api with its new configuration"}
    assert changes[3:] == ["start rooms-api with its new configuration"]


@needs_root
def test_nobody_works_in_a_database_whose_keys_are_gone(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    """The machine was started in the middle of it, and all that it has runs."""
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    for state in (State.READY, State.BACKOFF, State.STOPPING):
        supervisor.said.clear()
        supervisor.states["rooms-api"] = state
        made.append("widen rooms")
        assert run(ctx, supervisor).report.changes == [
            ("database:rooms", "stop what works in the database rooms: rooms-api"),
            ("process:rooms-api", "start rooms-api"),
        ]
        assert supervisor.said == ["stop rooms-api", "start rooms-api"]
    supervisor.states["rooms-api"] = State.STOPPED
    made.append("widen rooms")
    assert run(ctx, supervisor).report.changes == [("process:rooms-api", "start rooms-api")]


@needs_root
def test_a_certificate_renewed_in_the_same_run(
    ctx: Context, supervisor: Supervisor, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of its own changed a file after the supervisor had looked."""
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    supervisor.said.clear()
    rooms = ctx.components[2]

    def tasks(ctx: Context) -> Iterator[Task]:
        def renew() -> Iterator[Change]:
            yield Change("renew", lambda: supervisor.stale.add("rooms-api"))

        yield Task("certificate", renew, ("supervisor",), before_start=True)

    monkeypatch.setattr(rooms, "tasks", tasks)
    changes = run(dataclasses.replace(ctx), supervisor).report.changes
    assert changes == [
        ("rooms:certificate", "renew"),
        ("process:rooms-api", "restart rooms-api: its configuration has changed"),
    ]


@needs_root
def test_a_dry_run_names_what_would_be_restarted(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    supervisor.said.clear()
    other = dataclasses.replace(ctx, secrets=Secrets(rooms="another"))
    changes = run(other, supervisor, dry_run=True).report.changes
    conf = ctx.cloud.etc / "rooms" / "rooms.conf"
    assert changes == [
        ("files:rooms", f"write {conf}"),
        ("supervisor", "stop what gets another configuration: rooms-api"),
        ("process:rooms-api", "start rooms-api with its new configuration"),
    ]
    assert supervisor.said == [] and "another" not in conf.read_text()


def test_one_that_runs_waits_for_all_users(ctx: Context, tmp_path: Path) -> None:
    """A file may hold another service's password; a new cloud need not wait for all."""

    class Halls(Rooms):
        name = "halls"

        def databases(self, ctx: Context) -> Iterator[Database]:
            yield from ()

        def identity(self, ctx: Context) -> Iterator[Identity]:
            yield Identity("halls")

        def processes(self, ctx: Context) -> Iterator[Process]:
            yield Process("halls-api", self.name, "root", run="halls:api")

        def tasks(self, ctx: Context) -> Iterator[Task]:
            yield from ()

    more = dataclasses.replace(ctx, components=(*ctx.components, Halls()))
    supervisor = Supervisor(more)
    assert "identity:halls" not in steps(more, supervisor)["process:rooms-api"].needs
    supervisor.up = True
    found = steps(more, supervisor)
    assert {"identity:halls", "identity:rooms"} <= set(found["process:rooms-api"].needs)
    assert "identity:halls" not in found["process:doors-api"].needs


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Types and users that keystone has."""
    catalog = ["identity", "lodging", "user rooms"]

    def withdraw(ctx: Context, types: list[str]) -> Iterator[Change]:
        for kind in types:
            if kind in catalog:
                yield Change(f"take {kind} out", functools.partial(catalog.remove, kind))

    def remove_user(ctx: Context, name: str) -> Iterator[Change]:
        if f"user {name}" in catalog:
            yield Change(f"remove {name}", lambda: catalog.remove(f"user {name}"))

    monkeypatch.setattr(switched_off, "withdraw", withdraw)
    monkeypatch.setattr(switched_off, "remove_user", remove_user)
    return catalog


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> list[str]:
    """Database users that the server has."""
    users = ["doors", "rooms"]
    monkeypatch.setattr(Server, "users", lambda self: set(users))
    monkeypatch.setattr(Server, "exists", lambda self, name: name in made)
    monkeypatch.setattr(Server, "drop", lambda self, name: made.remove(name))
    monkeypatch.setattr(Server, "drop_user", lambda self, name: users.remove(name))
    return users


@needs_root
def test_switched_off_on_again_and_purged(
    ctx: Context,
    supervisor: Supervisor,
    made: list[str],
    catalog: list[str],
    server: list[str],
) -> None:
    for place in ("etc", "data", "data/doors", "data/rooms"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    assert switched_off.left(ctx) == []
    rooms = ctx.components[2]
    less = dataclasses.replace(ctx, components=ctx.components[:2], switched_off=(rooms,))
    supervisor.ctx = less
    conf = ctx.cloud.etc / "rooms" / "rooms.conf"

    changes = [what for _, what in run(less, supervisor).report.changes]
    assert changes[1:] == ["load the roster, which removes rooms-api", "take lodging out"]
    assert supervisor.said[-1] == "stop rooms-api"
    assert "rooms" in made and conf.exists() and (ctx.cloud.data / "painted").exists()
    (left,) = switched_off.left(less)
    assert (left.title, left.directories, left.files) == (
        "Rooms",
        (ctx.cloud.data / "rooms",),
        (conf,),
    )
    assert run(less, supervisor).report.changes == []

    catalog.append("lodging")
    supervisor.ctx = ctx
    whats = [what for _, what in run(ctx, supervisor).report.changes]
    assert "load the roster, which adds rooms-api" in whats and "start rooms-api" in whats
    assert "paint the rooms" not in whats

    supervisor.ctx = less
    runner = Runner()
    runner.execute(up.cloud_steps(less, supervisor, purge=True))
    whats = [what for step, what in runner.report.changes if step == "purge:rooms"]
    assert whats == [
        "take the paint off",
        "drop the database rooms",
        "drop the database's user rooms",
        "remove rooms",
        f"remove {ctx.cloud.data / 'rooms'}",
        f"remove {conf}",
        f"remove {conf.parent}",
    ]
    assert (catalog, server) == (["identity"], ["doors"])
    assert "rooms" not in made and "doors" in made
    assert switched_off.left(less) == [] and (ctx.cloud.data / "doors").is_dir()


class Ring(Feature):
    """Rung, or not."""

    name = "ring"
    title = "The bells"
    provides = (Capability("ringing", port=7),)
    rung = False

    def on(self, ctx: Context) -> bool:
        return self.rung

    def directories(self, ctx: Context) -> Iterator[Directory]:
        yield Directory(ctx.cloud.data / "ropes")

    def files(self, ctx: Context) -> Iterator[ConfigFile]:
        for name in ("pull.conf", "sign"):
            yield ConfigFile(ctx.cloud.etc / "bells" / name, f"{ctx.secrets['rope']}\n")

    def databases(self, ctx: Context) -> Iterator[Database]:
        yield Database("tunes", "tunes", "ring:sync", ("ring/versions",))

    def identity(self, ctx: Context) -> Iterator[Identity]:
        yield Identity("ringer", (Endpoint("ring", "ringing", 7),))

    def markers(self, ctx: Context) -> tuple[Path, ...]:
        return (ctx.cloud.etc / "bells" / "sign",)

    def purge(self, ctx: Context) -> Iterator[Change]:
        (sign,) = self.markers(ctx)
        if sign.exists():
            yield Change("take the bells down", sign.unlink)


class Bells(Store):
    name = "bells"

    def __init__(self) -> None:
        self.ring = Ring()
        self.features = (self.ring,)

    def processes(self, ctx: Context) -> Iterator[Process]:
        yield from ()

    def files(self, ctx: Context) -> Iterator[ConfigFile]:
        yield ConfigFile(ctx.cloud.etc / "bells" / "bells.conf", "", mode=0o600)


def test_what_a_feature_provides_is_there_while_it_is_on(ctx: Context) -> None:
    bells = Bells()
    more = dataclasses.replace(ctx, components=(*ctx.components, bells))
    assert not more.offers("ringing") and more.at("ringing").port == 7
    bells.ring.rung = True
    more = dataclasses.replace(more)
    assert more.offers("ringing")
    assert [offer.name for offer in more.model["bells"].provides] == ["database", "ringing"]


@needs_root
def test_a_feature_switched_off(
    ctx: Context,
    supervisor: Supervisor,
    made: list[str],
    catalog: list[str],
    server: list[str],
) -> None:
    """Of a component that is on: its files go, all else is kept until it is purged."""
    bells = Bells()
    bells.ring.rung = True
    etc, ropes = ctx.cloud.etc / "bells", ctx.cloud.data / "ropes"
    for place in ("etc", "data", "data/doors", "data/rooms"):
        (ctx.cloud.root / place).mkdir(parents=True)
    more = dataclasses.replace(ctx, components=(*ctx.components, bells))
    supervisor.ctx = more
    run(more, supervisor)
    assert switched_off.left(more) == []
    assert sorted(file.name for file in etc.iterdir()) == ["bells.conf", "pull.conf", "sign"]
    ropes.mkdir()
    server.append("tunes")
    catalog += ["ringing", "user ringer"]

    bells.ring.rung = False
    less = dataclasses.replace(more)
    supervisor.ctx = less
    changes = [(step, what) for step, what in run(less, supervisor).report.changes]
    assert ("files:bells", f"remove {etc / 'pull.conf'}") in changes
    assert ("catalog:bells:ring", "take ringing out") in changes
    assert sorted(file.name for file in etc.iterdir()) == ["bells.conf", "sign"]
    assert run(less, supervisor).report.changes == []
    (left,) = switched_off.left(less)
    assert (left.name, left.title) == ("bells:ring", "The bells")
    assert (left.directories, left.files) == ((ropes,), ())

    for dry_run in (True, False):
        runner = Runner(dry_run=dry_run)
        found = up.cloud_steps(less, supervisor, dry_run, purge=True)
        runner.execute(found)
        assert runner.report.changes == [
            ("purge:bells:ring", "take the bells down"),
            ("purge:bells:ring", "drop the database tunes"),
            ("purge:bells:ring", "drop the database's user tunes"),
            ("purge:bells:ring", "remove ringer"),
            ("purge:bells:ring", f"remove {ropes}"),
        ]
        assert ropes.is_dir() is dry_run
    assert switched_off.left(less) == [] and "tunes" not in server
    assert (etc / "bells.conf").exists()


@needs_root
def test_the_marker_alone_tells(ctx: Context, supervisor: Supervisor, catalog: list[str]) -> None:
    less = dataclasses.replace(ctx, components=(*ctx.components, Bells()))
    sign = ctx.cloud.etc / "bells" / "sign"
    sign.parent.mkdir(parents=True)
    (sign.parent / "pull.conf").touch()
    assert switched_off.left(less) == []
    sign.touch()
    assert [left.name for left in switched_off.left(less)] == ["bells:ring"]


@needs_root
def test_a_component_less_and_new_code(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    less = dataclasses.replace(ctx, components=(Store(), Doors()))
    supervisor.ctx = less
    assert ("supervisor", "load the roster, which removes rooms-api") in run(
        less, supervisor
    ).report.changes
    other = dataclasses.replace(less.release, program=Path("/other/program"))
    newer = dataclasses.replace(less, release=other)
    supervisor.said.clear()
    changes = run(newer, supervisor).report.changes
    assert changes[0][1].startswith("restart the supervisor and all processes")
    assert supervisor.said == ["shutdown", "launch", "start stored", "start doors-api"]


@needs_root
def test_a_process_that_does_not_get_ready(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    supervisor.failing = lambda name: (
        OnestackError("doors-api is not ready", "locked", "unlock") if name == "doors-api" else None
    )
    with pytest.raises(StepsFailed) as caught:
        run(ctx, supervisor)
    assert caught.value.what == "Process doors-api: doors-api is not ready"
    assert "start rooms-api" not in supervisor.said
    supervisor.failing = lambda name: None
    run(ctx, supervisor)
    assert run(ctx, supervisor).report.changes == []


def test_a_dry_run_tells_the_supervisor_nothing(
    ctx: Context, supervisor: Supervisor, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = run(ctx, supervisor, dry_run=True)
    assert supervisor.said == [] and made == []
    assert not ctx.cloud.root.exists()
    whats = [what for _, what in runner.report.changes]
    assert "launch the supervisor" in whats and "make doors" in whats
    supervisor.up = True
    supervisor.states = dict.fromkeys(("stored", "doors-api", "rooms-api"), State.READY)
    monkeypatch.setattr(supervisor, "load", lambda: pytest.fail("told in a dry run"))
    run(ctx, supervisor, dry_run=True)


class Unsaid(Component):
    """What it wants cannot be told: ``error`` is raised."""

    name = "unsaid"
    error: Exception

    def files(self, ctx: Context) -> Iterator[ConfigFile]:
        raise self.error

    def users(self, ctx: Context) -> Iterator[str]:
        yield from ()


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("error", [NotInstalled("no release yet"), AttributeError("of ours")])
def test_only_what_is_not_installed_is_not_known_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, dry_run: bool
) -> None:
    """Any other exception in a declaration was taken for it."""
    component = Unsaid()
    component.error = error
    ctx = context(tmp_path, component)
    monkeypatch.setattr(up, "end_orphans", lambda: None)
    install = Step("packages", "Packages", lambda: iter([Change("install", lambda: None)]))
    monkeypatch.setattr(up, "prepare_steps", lambda ctx: [install])
    look = functools.partial(up.up, ctx, Supervisor(ctx), dry_run=dry_run)
    if dry_run and isinstance(error, NotInstalled):
        assert look().results[-1].outcome is Outcome.UNKNOWN
        return
    with pytest.raises(type(error), match=str(error)):
        look()


def test_logs_are_explained_by_their_component(ctx: Context, supervisor: Supervisor) -> None:
    processes = Processes(ctx, supervisor)
    assert processes.explain("doors", "it is locked") == "the doors are locked; unlock them"
    # what all others stand on may know more than the component itself
    assert processes.explain("rooms", "it is locked") == "the doors are locked; unlock them"
    assert processes.explain("rooms", "it is open") is None
    assert processes.explain("nobody", "x") is None


@needs_root
def test_a_supervisor_of_another_version_is_replaced(
    ctx: Context, supervisor: Supervisor, made: list[str]
) -> None:
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    supervisor.said.clear()
    supervisor.other_version = True
    assert not Processes(ctx, supervisor).at_work()
    whats = [what for _, what in run(ctx, supervisor, dry_run=True).report.changes]
    assert whats[0].startswith("restart the supervisor") and whats[1:] == [
        f"start {name}" for name in ("stored", "doors-api", "rooms-api")
    ]
    job = Migration(ctx, supervisor, "doors", Database("doors", "doors", "doors:sync", ()))
    assert not job.running()
    assert supervisor.said == []
    run(ctx, supervisor)
    assert supervisor.said[:2] == ["shutdown", "launch"]


@needs_root
def test_what_runs_keeps_its_roster_until_it_is_replaced(
    ctx: Context, supervisor: Supervisor, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old supervisor that died after a run that failed could not read the new roster."""
    for place in ("etc", "data"):
        (ctx.cloud.root / place).mkdir(parents=True)
    run(ctx, supervisor)
    kept = roster_path(ctx.cloud)
    kept.write_text("of an older program")
    supervisor.other_version = True

    class Full(Rooms):
        def files(self, ctx: Context) -> Iterator[ConfigFile]:
            path = ctx.cloud.etc / "doors.conf" / "below-a-file"
            yield ConfigFile(path, "", mode=0o600)

    failing = dataclasses.replace(ctx, components=(Store(), Doors(), Full()))
    supervisor.said.clear()
    with pytest.raises(StepsFailed):
        run(failing, supervisor)
    assert (kept.read_text(), supervisor.said) == ("of an older program", [])

    def unit(ctx: Context, ledger: object) -> Iterator[Change]:
        assert kept.read_text() == "of an older program"
        yield Change("have systemd start it", lambda: supervisor.said.append("unit"))

    facts = dataclasses.replace(ctx.facts, systemd=True)
    ctx = up.with_facts(ctx, facts)
    monkeypatch.setattr(processes, "ensure_unit", unit)
    monkeypatch.setattr(processes, "unit_at_work", lambda cloud: False)
    monkeypatch.setattr(
        processes, "start_unit", lambda cloud, running: supervisor.launch(Path(), Path(), kept)
    )
    changes = run(ctx, supervisor).report.changes
    assert changes[:2] == [("supervisor", "have systemd start it"), ("supervisor", f"write {kept}")]
    assert changes[2][1].startswith("restart the supervisor")
    assert supervisor.said[:3] == ["unit", "shutdown", "launch"]
    assert Roster.from_file(kept).cloud == "toy"


def test_a_zygote_is_of_the_environment_of_its_processes(ctx: Context) -> None:
    class Forked(Doors):
        of: tuple[str, str]

        def environments(self, ctx: Context) -> Iterator[str]:
            yield from ("dashboard", "tempest")

        def zygote(self, ctx: Context) -> Iterator[str]:
            yield "doors"

        def processes(self, ctx: Context) -> Iterator[Process]:
            for name, environment in zip(("doors-api", "doors-two"), self.of, strict=True):
                yield Process(name, "doors", "root", run="doors:api", environment=environment)

    forked = Forked()
    more = dataclasses.replace(ctx, components=(Store(), forked))
    forked.of = ("dashboard", "dashboard")
    roster = roster_of(more)
    assert roster.zygotes == {"doors": ZygoteSpec(("doors",), "dashboard")}
    assert {p.zygote for p in roster.processes} == {"", "doors"}
    assert Roster.from_json(roster.to_json()) == roster
    forked.of = ("dashboard", "tempest")
    with pytest.raises(ValueError, match="several environments"):
        roster_of(dataclasses.replace(ctx, components=(Store(), forked)))


def test_the_roster(ctx: Context) -> None:
    roster = roster_of(ctx)
    assert [p.name for p in roster.processes] == ["stored", "doors-api", "rooms-api"]
    assert roster.preload == ("json", "re", "socket")
    assert roster.privsep == {"doors": ("doors.root", "rooms.root"), "rooms": ("rooms.root",)}
    path = ctx.cloud.root
    path.mkdir()
    (path / "r").write_text(roster.to_json())
    again = Roster.from_file(path / "r")
    assert again.processes == roster.processes
    assert json.loads(roster.to_json())["root"] == str(ctx.cloud.root)
    assert roster_path(ctx.cloud) == ctx.cloud.etc / "roster.json"


def test_a_name_twice_and_a_need_that_nothing_meets(ctx: Context) -> None:
    class More(Component):
        name = "more"

        def __init__(self, process: Process) -> None:
            self.process = process

        def processes(self, ctx: Context) -> tuple[Process, ...]:
            return (self.process,)

    def roster(name: str, *needs: str) -> Roster:
        more = More(Process(name, "more", "root", needs=needs))
        return roster_of(dataclasses.replace(ctx, components=(*ctx.components, more)))

    with pytest.raises(ValueError, match="two processes have the name stored"):
        roster("stored")
    with pytest.raises(ValueError, match="more needs 'windows', which nothing provides"):
        roster("more", "windows")
    found = roster("more", "database", "rooms-api", "identity", "doors-api")
    assert found.processes[-1].needs == ("stored", "rooms-api", "doors-api")


def test_ports(ctx: Context) -> None:
    assert ports(ctx) == [
        ("127.77.0.1", 5000, "doors-api"),
        ("192.0.2.2", 5000, "the front of doors"),
    ]
    assert tcp_of("unix:/run/x") is None
    assert tcp_of("tcp:[::1]:80") == ("::1", 80)
    assert tcp_of("https://10.0.0.1:443/x") == ("10.0.0.1", 443)
    assert tcp_of("http://name/") is None


def test_the_first_half(ctx: Context, tmp_path: Path) -> None:
    inside = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, netns="onestack-toy"))
    found = {s.name: s for s in prepare.prepare_steps(inside, tmp_path / "cache")}
    assert list(Graph(found.values()).steps) == list(found)
    assert set(found) >= {"cloud", "packages", "users", "release", "program", "netns"}
    assert set(found["release"].needs) == {"environment:services", "program", "packages"}
    # what comes from elsewhere comes before the cloud's own network is entered
    assert set(found["rooms:wallpaper"].needs) == {"cloud", "packages"}
    assert "netns" not in {s.name for s in prepare.prepare_steps(ctx, tmp_path / "cache")}
    wanted = prepare.wanted_packages(ctx)
    assert wanted == sorted(set(wanted)) and {"store-server", "store-client"} <= set(wanted)
    users = [f"onestack-toy-{name}" for name in ("store", "doors", "rooms")]
    assert prepare.wanted_users(ctx) == users


@needs_root
@pytest.mark.parametrize("changed", [True, False])
def test_facts_are_gathered_anew_once_the_first_half_has_changed_something(
    ctx: Context, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """What the packages brought (here: KVM that works) counts in the second half."""

    def first(ctx: Context) -> list[Step]:
        change = Change("install a package", lambda: None)
        return [Step("packages", "Packages", lambda: iter([change] if changed else []))]

    seen: list[Context] = []
    asked: list[int] = []

    def second(ctx: Context, *_: object) -> list[Step]:
        seen.append(ctx)
        return []

    def gather() -> HostFacts:
        asked.append(1)
        return dataclasses.replace(ctx.facts, kvm=True, public_address="192.0.2.99")

    monkeypatch.setattr(up, "prepare_steps", first)
    monkeypatch.setattr(up, "cloud_steps", second)
    up.up(ctx, supervisor, gather=gather)
    (then,) = seen
    assert len(asked) == changed and then.facts.kvm is changed
    assert then.public == ("192.0.2.99" if changed else ctx.public)
    assert (then.host.name, then.host.roles) == (ctx.host.name, ctx.host.roles)
    assert (then.model is ctx.model) is not changed
    up.up(ctx, supervisor, dry_run=True, gather=gather)
    assert len(asked) == changed and seen[-1] is ctx


def test_the_clouds_own_place(ctx: Context, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for change in prepare.ensure_cloud(ctx, cache):
        change.do()
    assert list(prepare.ensure_cloud(ctx, cache)) == []
    assert json.loads((ctx.cloud.etc / "cloud.json").read_text()) == {
        "format": FORMAT,
        "name": "toy",
        "netns": None,
        "release": "2026.2",
        "hosts": [{"name": "here", "roles": ["compute", "controller", "gateway", "storage"]}],
    }
    (tmp_path / "other" / "photos").mkdir(parents=True)
    other = dataclasses.replace(ctx, cloud=Cloud("toy", tmp_path / "other"))
    with pytest.raises(OnestackError, match="a cloud wants a directory of its own"):
        list(prepare.ensure_cloud(other, cache))
    assert Rooms.name == "rooms"


def test_further_environments_are_installed_on_demand(ctx: Context, tmp_path: Path) -> None:
    """Only those that a component that is on asks for, one after the other."""

    class Wants(Component):
        name = "wants"

        def environments(self, ctx: Context) -> tuple[str, ...]:
            return ("dashboard",)

    names = {s.name for s in prepare.prepare_steps(ctx, tmp_path / "cache")}
    always = {name for name in names if name.startswith("environment:")}
    assert always == {"environment:services", "environment:clients"}
    wanting = dataclasses.replace(ctx, components=(*ctx.components, Wants(), Wants()))
    found = {s.name: s for s in prepare.prepare_steps(wanting, tmp_path / "cache")}
    assert found["environment:dashboard"].needs == ("environment:clients",)


def test_an_environment_of_its_own(ctx: Context, tmp_path: Path) -> None:
    """Processes, migrations and jobs say its name, and nothing else."""

    class Lodge(Component):
        name = "lodge"

        def environments(self, ctx: Context) -> tuple[str, ...]:
            return ("dashboard",)

        def databases(self, ctx: Context) -> Iterable[Database]:
            yield Database(
                "lodge", "lodge", "lodge:sync", ("lodge/versions",), environment="dashboard"
            )

        def processes(self, ctx: Context) -> Iterable[Process]:
            yield Process("lodge", self.name, "root", run="lodge:api", environment="dashboard")

    wanting = dataclasses.replace(ctx, components=(*ctx.components, Lodge()))
    dashboard = wanting.release.environment("dashboard")
    builder = up._Builder(wanting, Supervisor(wanting), dry_run=False)
    # What is not made yet is no release without migrations.
    with pytest.raises(NotInstalled):
        builder._schemas("dashboard")
    make(dashboard, {"lodge/versions/a.py": "revision = 'x'\n"})
    assert roster_of(wanting).environments == {"dashboard": str(dashboard.python)}
    own = builder._schemas("dashboard")
    (database,) = Lodge().databases(wanting)
    assert own.wanted(database) == {"x"}
    assert own.dumps.folder.name == dashboard.digest
    assert builder._schemas("services").dumps.folder.name == wanting.release.services.digest

    class Squatter(Lodge):
        def environments(self, ctx: Context) -> tuple[str, ...]:
            return ()

    alone = dataclasses.replace(ctx, components=(*ctx.components, Squatter()))
    with pytest.raises(ValueError, match="'dashboard', not declared"):
        roster_of(alone)


class Shelf(Component):
    """Keeps what others must see."""

    name = "shelf"

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process("shelfd", self.name, "root", argv=("/bin/shelf",), cleanup=(("wipe",),))
        yield Process("duster", self.name, "root", argv=("/bin/dust",))

    def stores(self, ctx: Context) -> Iterable[StoreMount]:
        yield StoreMount("books", "a.room:Books", "shelfd", ("identity", "none"), ("shelf:build",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("build", lambda: iter(()))


def test_a_store_is_mounted_for_its_owner_and_those_who_must_see_it(
    ctx: Context, supervisor: Supervisor
) -> None:
    ctx = dataclasses.replace(ctx, components=(*ctx.components, Shelf()))
    specs = {spec.name: spec for own in processes_of(ctx).values() for spec in own}
    attach = specs["shelfd"].prepare[0]
    assert attach[-3:] == ("onestack.storage.attach", "a.room:Books", str(ctx.cloud.root))
    assert specs["shelfd"].cleanup == (("wipe",), (*attach, "--detach"))
    assert specs["doors-api"].prepare == (attach,)
    assert specs["doors-api"].cleanup == ()
    assert not specs["stored"].prepare and not specs["duster"].prepare
    steps = {step.name: step for step in up.cloud_steps(ctx, supervisor)}
    waiting = {name for name, step in steps.items() if "shelf:build" in step.needs}
    assert waiting - {"ready"} == {"process:shelfd", "process:doors-api"}
