"""The shape every component has, and what it is given to answer with.

A component says what it wants as data: packages, users, files, databases,
identity, processes, tasks. The engine in `onestack.plan` makes it so; it
knows no component by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onestack.answers.key import Key
from onestack.cloud import Cloud
from onestack.host.change import Change
from onestack.supervise.spec import Process

if TYPE_CHECKING:
    from onestack.answers.secrets import Secrets
    from onestack.answers.values import Answers
    from onestack.host.facts import HostFacts
    from onestack.host.findings import Finding
    from onestack.release.release import Release


class Several(tuple[str, ...]):
    """Values of an option that may stand in a file more than once, each on a line of its own."""


Value = str | int | float | bool | list[str] | tuple[str, ...]
Ini = dict[str, dict[str, Value]]
"""Section to option to value; booleans and lists are rendered as oslo.config reads them."""


@dataclass(frozen=True)
class Context:
    """All that a component may look at. Nothing here changes during a run."""

    cloud: Cloud
    answers: Answers
    """``answers["CONFIG_…"]`` gives the typed value."""
    secrets: Secrets
    """``secrets["nova_db"]`` gives a random secret, made once and kept 0600."""
    host: HostFacts
    release: Release
    """``release.services`` is the services' environment (a `Path`)."""
    components: tuple[Component, ...] = ()
    """Those switched on, in order."""
    switched_off: tuple[Component, ...] = ()
    """All others that there are."""

    @property
    def public(self) -> str:
        """The address at which the TLS front listens."""
        return self.host.public_address

    @property
    def internal(self) -> str:
        """The cloud's own loopback address."""
        return self.cloud.loopback

    def has(self, component: str) -> bool:
        return any(c.name == component for c in self.components)


@dataclass(frozen=True)
class ConfigFile:
    """A file made for a component, owned root:``group``, mode 0640 unless told."""

    path: Path
    content: str
    group: str = "root"
    mode: int = 0o640
    ini: Ini | None = field(default=None, compare=False)
    namespaces: tuple[str, ...] = ()
    """oslo.config namespaces whose options may stand in it (checked by tests)."""


@dataclass(frozen=True)
class Directory:
    path: Path
    user: str = "root"
    group: str = "root"
    mode: int = 0o750


@dataclass(frozen=True)
class Database:
    """``sync`` is a job (``module:function``) that runs upstream's own migrations.

    ``versions`` are folders in the services' environment's site-packages with
    alembic's version files: the schema is current when the database's
    ``table`` holds exactly their heads. With ``within`` it is no database of
    the server's, but tables with migrations of their own in that one.
    """

    name: str
    user: str
    sync: str
    versions: tuple[str, ...]
    config: tuple[Path, ...] = ()
    after: tuple[str, ...] = ()
    """Databases that must be migrated before."""
    within: str = ""
    """The database of another project in which its tables lie; migrated before."""
    table: str = "alembic_version"
    """Where alembic keeps what the tables' revisions are."""

    @property
    def place(self) -> str:
        """The server's name of the database that holds its tables."""
        return self.within or self.name


@dataclass(frozen=True)
class Endpoint:
    """One catalog entry; ``path`` follows the port in its URL."""

    name: str
    type: str
    port: int
    path: str = ""
    description: str = ""


@dataclass(frozen=True)
class Identity:
    """A service user (roles admin and service in project service) and its endpoints."""

    user: str
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """PEM files of the operator's; ``ca`` is what signs it, and what comes in between."""

    certificate: str
    key: str
    ca: str = ""


@dataclass(frozen=True)
class Front:
    """One TLS port on the public address, served by ``backend`` (``ADDRESS:PORT``)."""

    name: str
    port: int
    backend: str
    certificate: Certificate | None = None
    """Its own; ``None``: the one of all ports."""
    plain: bool = False
    """HTTP instead; without a backend it sends whoever comes to the same place on HTTPS."""
    page: str = ""
    """Path of what people open in a browser; empty where only programs come."""


@dataclass(frozen=True)
class Task:
    """Something only this component needs done.

    ``ensure`` looks at the world and yields what is missing. ``needs`` names
    steps: ``packages``, ``users``, ``release``, ``supervisor``,
    ``files:COMPONENT``, ``database:NAME``, ``process:NAME`` (started and
    ready), ``identity:COMPONENT``, another task as ``COMPONENT:TASK``, or
    ``ready``: all else is done.
    With ``before_start`` the component's processes wait for it.
    """

    name: str
    ensure: Callable[[], Iterator[Change]]
    needs: tuple[str, ...] = ()
    before_start: bool = False


@dataclass(frozen=True)
class Part:
    """Of a component that is on: something that its answers switch off.

    ``purge`` is as `Component.purge`, and looks for itself whether anything is
    left. ``signs`` are files below the root: while one is there, something is.
    ``after`` are parts of the same component that go first.
    """

    name: str
    title: str
    purge: Callable[[], Iterator[Change]]
    signs: tuple[Path, ...] = ()
    after: tuple[str, ...] = ()


class Component:
    """One OpenStack service, or one daemon it needs. Subclasses override what they have."""

    name: str = ""
    title: str = ""
    keys: tuple[Key, ...] = ()
    family_apart: bool = False
    """Whether the parent of `family` is a program of its own, not forked from the supervisor:
    for those who change Python itself, and would change what the others have imported."""
    provides: tuple[str, ...] = ()
    """What others get without naming it: ``database`` (the server behind
    ROOT/run/mariadb/mariadb.sock: every database waits for its processes) and
    ``identity`` (every `Identity` waits for its processes and tasks)."""

    def enabled(self, answers: Answers) -> bool:
        return True

    def contradictions(self, answers: Answers) -> Iterable[str]:
        """Answers of this component that cannot be together, each as a sentence."""
        return ()

    def obstacles(self, ctx: Context) -> Iterable[Finding]:
        """What of this machine does not fit this component's answers.

        Part of the preflight checks: with the standard library alone, quick, changing nothing.
        """
        return ()

    def examine(self, ctx: Context) -> Iterable[Finding]:
        """What a look at what it does shows, in a running cloud, besides processes and logs.

        Raises `OnestackError` where it cannot look.
        """
        return ()

    def packages(self, ctx: Context) -> Iterable[str]:
        """Debian packages."""
        return ()

    def environments(self, ctx: Context) -> Iterable[str]:
        """Further Python environments of the release, by the name of their lock file.

        `Release.further` says where such an environment is.
        """
        return ()

    def disk(self, ctx: Context) -> int:
        """Bytes that must be free below the cloud's root for what is not there yet."""
        return 0

    def users(self, ctx: Context) -> Iterable[str]:
        """System users, by `Cloud.user`; usually one, the component's own."""
        return (ctx.cloud.user(self.name),)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        return ()

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        return ()

    def former_files(self, ctx: Context) -> Iterable[Path]:
        """Below the root: files that it has with other answers than these, and that go."""
        return ()

    def databases(self, ctx: Context) -> Iterable[Database]:
        return ()

    def identity(self, ctx: Context) -> Iterable[Identity]:
        return ()

    def fronts(self, ctx: Context) -> Iterable[Front]:
        return ()

    def processes(self, ctx: Context) -> Iterable[Process]:
        return ()

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        """Unix user to the privsep contexts it may ask the supervisor for."""
        return {}

    def preload(self, ctx: Context) -> Iterable[str]:
        """Modules worth importing once, in the warm parent; none may import eventlet."""
        return ()

    def family(self, ctx: Context) -> Iterable[str]:
        """Modules that all of this component's Python processes share, and no other may have.

        They are imported once, in a warm parent of the component's own, from
        which its processes and their privsep daemons are forked. It may name
        ``eventlet``, where upstream cannot do without importing it.
        """
        return ()

    def downloads(self, ctx: Context) -> Iterable[Task]:
        """What is fetched from elsewhere, beside packages and release, and kept in the cache.

        Run in the host's own network, before anything of the cloud is begun; what the
        cache has already is not asked for. They may need ``packages``. Preflight asks
        them too, to see whether the mirrors must be reached.
        """
        return ()

    def tasks(self, ctx: Context) -> Iterable[Task]:
        """What is done here needs nothing from outside the machine."""
        return ()

    def purge(self, ctx: Context) -> Iterator[Change]:
        """Switched off for good: what its own tasks and its users made elsewhere, undone.

        The processes of all that is on are ready by then. Databases, users, files and
        directories are removed by the engine, afterwards.
        """
        yield from ()

    def parts_off(self, ctx: Context) -> Iterable[Part]:
        """The parts of this component, while it is on, that the answers switch off."""
        return ()

    def explain(self, ctx: Context, text: str) -> str | None:
        """The likely cause and cure behind a log line of this component, if known."""
        return None


def explain(ctx: Context, component: str, text: str) -> str | None:
    """What is known about a log's ``text``: by its component, else by what all others stand on."""
    own = [c for c in ctx.components if c.name == component]
    rooms = [*own, *(c for c in ctx.components if c.provides and c not in own)]
    return next((likely for room in rooms if (likely := room.explain(ctx, text))), None)


def ini_text(sections: Ini) -> str:
    """Render ``sections`` for oslo.config, in the order given."""

    def lines(option: str, v: Value) -> Iterable[str]:
        if isinstance(v, Several):
            return (f"{option} = {ini_value(each)}" for each in v)
        return (f"{option} = {ini_value(v)}",)

    return "\n".join(
        "\n".join([f"[{section}]", *(t for k, v in options.items() for t in lines(k, v)), ""])
        for section, options in sections.items()
    )


def ini_value(value: Value) -> str:
    """As oslo.config reads it back: ``$`` would be a reference, outer quotes would go."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = f'"{text}"'
    return text.replace("$", "$$")


def kept(path: Path, option: str) -> str | None:
    """``option`` as `ini_text` wrote it to the file that is there, of whichever section."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" = ")
            if name == option:
                return value
    return None


def ini_file(path: Path, group: str, sections: Ini, *namespaces: str) -> ConfigFile:
    """A `ConfigFile` of ``sections``, readable by ``group``."""
    return ConfigFile(path, ini_text(sections), group, ini=sections, namespaces=namespaces)


def json_safe(value: Any) -> Any:
    """``value`` with paths as text, for `Process.arguments`."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {k: json_safe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(v) for v in value]
    return value
