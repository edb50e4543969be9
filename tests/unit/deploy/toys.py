"""A cloud of toy components and a supervisor that lives here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from onestack.answers.values import Answers
from onestack.deploy.supervisor import SupervisorClient
from onestack.model.change import Change
from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Identity,
    KnownError,
    Task,
)
from onestack.model.host import Host
from onestack.model.process import HttpProbe, Process
from onestack.release.release import Release
from onestack.supervise.client import Explain, OtherVersion
from onestack.supervise.protocol import Loaded, PreloadStatus, ProcessStatus, SupervisorStatus
from onestack.supervise.states import State
from tests.support.environments import make
from tests.support.machines import machine

FACTS = machine(hostname="here", hostname_address="127.0.0.1", public_address="192.0.2.2")


class Secrets(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"secret of {name}"

    def known(self) -> frozenset[str]:
        return frozenset(self.values())

    def looking(self) -> Secrets:
        return Secrets()


class Store(Component):
    """Provides databases."""

    name = "store"
    title = "Store"
    provides = (Capability("database", ("stored",), socket="store/store.sock"),)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("store-server",)

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process("stored", self.name, "root", argv=("/bin/store",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("data", lambda: iter(()), ("users", "packages"), before_start=True)


class Doors(Component):
    """Provides identity, and has a database."""

    name = "doors"
    title = "Doors"
    provides = (Capability("identity", ("doors-api",), port=5000, path="/v3"),)
    known_errors = (KnownError("locked", "the doors are locked", "unlock them", everywhere=True),)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("store-client", "store-server")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.data / "doors")

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(ctx.cloud.etc / "doors.conf", f"public = {ctx.public}\n", mode=0o600)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield Database("doors", "doors", "doors:sync", ("doors/versions",))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("probe", (Endpoint("doors", "identity", 5000),))

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process(
            "doors-api",
            self.name,
            "root",
            run="doors:api",
            sockets={"api": "tcp:127.77.0.1:5000"},
            needs=("stored",),
            probe=HttpProbe("http://127.77.0.1:5000/v3"),
        )

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("doors", 5000, "127.77.0.1:5000")

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {"doors": ("doors.root",)}

    def preload(self, ctx: Context) -> Iterable[str]:
        return ("json", "re")

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("keys", lambda: iter(()), ("users",), before_start=True)
        yield Task("project", lambda: iter(()), ("process:doors-api",))


class Rooms(Component):
    """Behind the doors."""

    name = "rooms"
    title = "Rooms"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.data / "rooms")

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        path = ctx.cloud.etc / "rooms" / "rooms.conf"
        yield ConfigFile(path, f"key = {ctx.secrets['rooms']}\n", mode=0o600)

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("wallpaper", lambda: iter(()), ("packages",))

    def purge(self, ctx: Context) -> Iterator[Change]:
        path = ctx.cloud.data / "painted"
        if path.exists():
            yield Change("take the paint off", path.unlink)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield Database("rooms", "rooms", "rooms:sync", ("rooms/versions",), after=("doors",))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("rooms", (Endpoint("rooms", "lodging", 5001),))

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {"doors": ("rooms.root",), "rooms": ("rooms.root",)}

    def preload(self, ctx: Context) -> Iterable[str]:
        return ("re", "socket")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(ctx.cloud.etc / "rooms" / "rooms.conf")
        yield Process(
            "rooms-api", self.name, "root", run="rooms:api", files=(config,), needs=("doors-api",)
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("paint", lambda: self.paint(ctx), ("identity:rooms", "process:rooms-api"))
        yield Task("visit", lambda: iter(()), ("ready",))

    def paint(self, ctx: Context) -> Iterator[Change]:
        path = ctx.cloud.data / "painted"
        if not path.exists():
            yield Change("paint the rooms", path.touch)


def context(tmp_path: Path, *components: Component) -> Context:
    release = Release("2026.2", tmp_path / "release", tmp_path / "program")
    for name in ("doors", "rooms"):
        make(release.services, {f"{name}/versions/a.py": "revision = 'a'\n"})
    cloud = Cloud("toy", tmp_path / "root")
    return Context(
        cloud=cloud,
        answers=Answers({}),
        secrets=Secrets(),
        host=Host.alone(cloud, FACTS),
        release=release,
        components=components or (Store(), Doors(), Rooms()),
    )


class Supervisor(SupervisorClient):
    """Answers as `onestack.supervise.client.Client` does; nothing runs."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.up = False
        self.states: dict[str, State] = {}
        self.stale: set[str] = set()
        self.other_version = False
        self.said: list[str] = []
        self.program = str(ctx.release.program)
        self.failing: Callable[[str], Exception | None] = lambda name: None

    def running(self) -> bool:
        return self.up

    def _names(self) -> list[str]:
        return [p.name for c in self.ctx.components for p in c.processes(self.ctx)]

    def launch(self, python: Path, program: Path, roster: Path) -> None:
        assert roster.is_file()
        self.said.append("launch")
        self.up, self.program = True, str(program)
        self.states = dict.fromkeys(self._names(), State.STOPPED)

    def load(self) -> Loaded:
        self.states = {name: self.states.get(name, State.STOPPED) for name in self._names()}
        return Loaded((), (), ())

    def details(self) -> SupervisorStatus:
        return SupervisorStatus(
            pid=1,
            since=0.0,
            python="",
            program=self.program,
            netns=None,
            preload=PreloadStatus(),
            zygotes={},
            processes=tuple(self.status()),
            jobs=(),
            privsep=(),
        )

    def status(self, names: Iterable[str] | None = None) -> list[ProcessStatus]:
        if self.other_version:
            raise OtherVersion
        return [
            ProcessStatus(name, "", state, None, 0.0, state.value, 0, name in self.stale)
            for name, state in self.states.items()
            if names is None or name in names
        ]

    def stop(self, names: Iterable[str]) -> None:
        for name in names:
            self.said.append(f"stop {name}")
            self.states[name] = State.STOPPED

    def pause(self, names: Iterable[str]) -> None:
        for name in names:
            self.said.append(f"pause {name}")
            self.states[name] = State.STOPPED
            self.stale.discard(name)

    def start(self, names: Iterable[str]) -> None:
        for name in names:
            self.said.append(f"start {name}")
            self.states[name] = State.STARTING

    def restart(self, names: Iterable[str]) -> None:
        for name in names:
            self.said.append(f"restart {name}")
            self.states[name] = State.STARTING
            self.stale.discard(name)

    def wait(
        self, names: Iterable[str], seconds: float, /, *, explain: Explain | None = None
    ) -> None:
        for name in names:
            if error := self.failing(name):
                raise error
            self.states[name] = State.READY

    def job(self, *, run: str, log: str, **more: Any) -> None:
        self.said.append(f"job {log}: {run}")

    def shutdown(self) -> None:
        self.said.append("shutdown")
        self.up, self.other_version, self.states = False, False, {}
