"""What the supervisor is told about each process: plain data, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from onestack.model.codec import from_plain, to_plain
from onestack.model.root_command import RootCommand

SERVICES = "services"
"""The environment of the services, which the supervisor itself runs in."""


@dataclass(frozen=True)
class _Probe:
    """How to know that a process is ready and stays well."""

    seconds: float = field(default=60.0, kw_only=True)
    """How long a start may take before the process counts as failed."""


@dataclass(frozen=True)
class ConnectProbe(_Probe):
    """``target`` (``unix:/path`` or ``tcp:host:port``) answers.

    The kernel accepts for a process that hangs, too: so it is asked something. What is said
    and heard is text of Latin-1, for bytes of any protocol.
    """

    kind: ClassVar[str] = "connect"
    target: str
    say: str = ""
    """Nothing: it speaks first."""
    hear: str = ""
    """What is somewhere in its first words. Nothing: that it accepts is all that can be known."""


@dataclass(frozen=True)
class HttpProbe(_Probe):
    """GET ``url`` (also ``unix:/path:/url``) answers below 500."""

    kind: ClassVar[str] = "http"
    url: str


@dataclass(frozen=True)
class ApiProbe(_Probe):
    """GET ``url``, ``{project_id}`` in it replaced, answers 2xx to a token of the cloud's own."""

    kind: ClassVar[str] = "api"
    url: str


@dataclass(frozen=True)
class AgentProbe(_Probe):
    """The listing at that URL (with a token) shows all ``binaries`` alive on this host.

    ``BINARY@BACKEND`` is that back-end's.
    """

    kind: ClassVar[str] = "agent"
    listing: str
    binaries: tuple[str, ...]
    fresh: bool = True
    """It must have been heard of since it was started: a listing that still shows its
    predecessor alive does not count. Not for agents that report only when asked (OVN's)."""


@dataclass(frozen=True)
class ExecProbe(_Probe):
    """``argv`` ends with 0."""

    kind: ClassVar[str] = "exec"
    argv: tuple[str, ...]


@dataclass(frozen=True)
class FileProbe(_Probe):
    """``path`` exists."""

    kind: ClassVar[str] = "file"
    path: str


@dataclass(frozen=True)
class NotifyProbe(_Probe):
    """The process says so itself by sd_notify(3); nothing is tried afterwards.

    Many daemons do, and Python processes by `onestack.runtime.notify.tell_ready`.
    """

    kind: ClassVar[str] = "notify"


Probe = ConnectProbe | HttpProbe | ApiProbe | AgentProbe | ExecProbe | FileProbe | NotifyProbe


@dataclass(frozen=True)
class Process:
    """One process of the cloud, owned by the supervisor.

    Exactly one of ``argv`` (a program, executed) and ``run`` (``module:function``,
    called with this spec and its sockets, in a child forked from a zygote where its
    environment has one) is given. ``sockets`` are opened, listening, before the fork:
    name to ``tcp:ADDRESS:PORT`` or ``unix:PATH``.
    """

    name: str
    component: str
    user: str
    argv: tuple[str, ...] = ()
    run: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    """Further services that run in it, by upstream's names; what is done to one is done to it."""
    environment: str = SERVICES
    """Name of the Python environment that ``run`` is called in: see `Roster`."""
    zygote: str = ""
    """Name of the zygote it is forked from, if not the supervisor: see `Roster`."""
    sockets: dict[str, str] = field(default_factory=dict)
    sockets_group: str = ""
    """Whose group its unix sockets are, if not its user's."""
    env: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Files whose content, when changed, asks for a restart."""
    needs: tuple[str, ...] = ()
    """Names of processes that must be ready before this one starts."""
    probe: Probe | None = None
    capabilities: tuple[str, ...] = ()
    """Ambient capabilities kept by an unprivileged program, such as ``net_admin``."""
    mounts: dict[str, str] = field(default_factory=dict)
    """Private bind mounts, place in the file tree to source directory."""
    prepare: tuple[tuple[str, ...], ...] = ()
    """Commands run (as root) before each start; each must end with 0."""
    cleanup: tuple[tuple[str, ...], ...] = ()
    """Commands run (as root) after the process has ended on purpose."""
    stop_signal: str = "TERM"
    stop_seconds: float = 15.0
    kill_group: bool = True
    """Whether descendants end with it (not so for libvirt's guests)."""
    roles: tuple[str, ...] = ()
    """Hosts with one of these roles have it; none: those of its component. It is settled when
    the roster is written, which is one host's and does not say it."""

    @property
    def title(self) -> str:
        return self.name


@dataclass(frozen=True)
class ZygoteSpec:
    """A parent of processes besides the supervisor: ``modules`` are imported once, in it.

    For what the processes of one project share and others must not have: a project's
    modules register their options globally, where another's clash. It is forked from the
    supervisor, after that one's own imports; ``isolated``, or of another ``environment``
    than the supervisor's, it is a program of its own. Modules that name ``eventlet``
    itself let it in, for those who cannot be imported without.
    """

    modules: tuple[str, ...]
    environment: str = SERVICES
    isolated: bool = False


@dataclass(frozen=True)
class Roster:
    """All processes of a cloud and what its supervisor itself needs to know."""

    cloud: str
    root: str
    netns: str | None
    preload: tuple[str, ...]
    """Modules that the supervisor imports before it forks; eventlet is kept out of it."""
    processes: tuple[Process, ...]
    privsep: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Privsep contexts (python names) that each unix user may have started."""
    root_commands: dict[str, tuple[RootCommand, ...]] = field(default_factory=dict)
    """Commands that each unix user may have run by the supervisor."""
    zygotes: dict[str, ZygoteSpec] = field(default_factory=dict)
    """The processes with such a ``zygote``, and their privsep daemons, are forked from it."""
    environments: dict[str, str] = field(default_factory=dict)
    """Python environments besides the supervisor's: name to the interpreter's path."""
    identity: dict[str, str] = field(default_factory=dict)
    """For api and agent probes: ``auth_url``, ``file`` (JSON, 0600: ``username``,
    ``password``, ``project_name``, ``domain``) and ``host``, as which agents report."""

    def to_json(self) -> str:
        raw = to_plain(self)
        for process in raw["processes"]:
            del process["roles"]
        return json.dumps(raw, indent=1, sort_keys=True)

    @classmethod
    def from_file(cls, path: Path) -> Roster:
        """Raises `OSError`, and `ValueError` for what is no roster of this program's."""
        return cls.from_json(path.read_text())

    @classmethod
    def from_json(cls, text: str) -> Roster:
        """Raises `ValueError`."""
        return from_plain(cls, json.loads(text))
