"""What a component may want, as plain data."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from onestack.model.change import Change
from onestack.model.host import Role
from onestack.model.ini import Ini, ini_text, merged
from onestack.model.process import SERVICES


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
    roles: frozenset[Role] | None = None
    """Hosts that have it; ``None``: those of the component."""

    def with_options(self, shares: Sequence[Ini]) -> ConfigFile:
        """The same with more options, as `onestack.model.ini.merged` has them."""
        if self.ini is None or not shares:
            return self
        ini = merged(self.ini, *shares)
        return replace(self, content=ini_text(ini), ini=ini)


def ini_file(
    path: Path,
    group: str,
    sections: Ini,
    *namespaces: str,
    roles: frozenset[Role] | None = None,
) -> ConfigFile:
    """A `ConfigFile` of ``sections``, readable by ``group``."""
    text = ini_text(sections)
    return ConfigFile(path, text, group, ini=sections, namespaces=namespaces, roles=roles)


@dataclass(frozen=True)
class Directory:
    path: Path
    user: str = "root"
    group: str = "root"
    mode: int = 0o750


@dataclass(frozen=True)
class Database:
    """``sync`` is a job (``module:function``) that runs upstream's own migrations.

    ``versions`` are folders in its environment's site-packages with alembic's version
    files: the schema is current when the database's ``table`` holds exactly their heads.
    With ``within`` it is no database of the server's, but tables with migrations of their
    own in that one.
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
    environment: str = SERVICES
    """The Python environment that has the migrations and in which ``sync`` is run."""

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
class Frontend:
    """One TLS port, served by ``backend`` (``ADDRESS:PORT``)."""

    name: str
    port: int
    backend: str
    certificate: Certificate | None = None
    """Its own; ``None``: the one of all ports at that address."""
    plain: bool = False
    """HTTP instead; without a backend it sends whoever comes to the same place on HTTPS."""
    page: str = ""
    """Path of what people open in a browser; empty where only programs come."""
    address: str = ""
    """Where it listens, if not at the public address: it need not be there yet. The certificate
    is by the cloud's own authority, whatever the operator gave for the public one."""
    tcp: bool = False
    """Whether connections are passed on whatever they carry; else it is HTTP."""


@dataclass(frozen=True)
class Port:
    """One of TCP's or UDP's: ``Port("tcp", 5671)``."""

    protocol: str
    number: int


@dataclass(frozen=True)
class Opened:
    """A port that a process opens by itself, and that no probe asks.

    Of those that others than this machine's reach, exposure takes these and fronts for right.
    """

    address: str
    port: Port


@dataclass(frozen=True)
class TopicPermission:
    """Routing keys of one exchange, each a regular expression: to publish with, to bind to."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True)
class BusPolicy:
    """``definition`` holds for the queues whose names match ``pattern``."""

    name: str
    pattern: str
    definition: Mapping[str, str | int]


@dataclass(frozen=True)
class BusExchange:
    """An exchange that is there before anybody connects, so that nobody has to make it.

    A `TopicPermission` holds only for those who may not configure its exchange: they could delete
    it, and make it anew of another type. ``durable`` as those declare it who still do. It does not
    go with the last who is bound to it.
    """

    name: str
    durable: bool
    kind: str = "topic"
    """Or ``fanout``."""


@dataclass(frozen=True)
class BusQueue:
    """A queue that is there as such an exchange is, bound to ``exchange`` by its own name."""

    name: str
    exchange: str
    durable: bool


@dataclass(frozen=True)
class BusAccount:
    """A user of the message bus, beside the one of all services, with the secret ``secret``.

    It may use one virtual host only, which is there while one account is in it, and there
    what match the three regular expressions.
    """

    user: str
    secret: str
    vhost: str
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"
    topics: tuple[TopicPermission, ...] = ()
    policies: tuple[BusPolicy, ...] = ()
    """Of its virtual host."""
    exchanges: tuple[BusExchange, ...] = ()
    """Of its virtual host."""
    queues: tuple[BusQueue, ...] = ()
    """Of its virtual host."""


class Scope(enum.Enum):
    """How often a task is done."""

    HOST = "host"  # on each host with one of the component's roles
    CLOUD = "cloud"  # once, where `up` was typed


@dataclass(frozen=True)
class Task:
    """Something only this component needs done.

    ``ensure`` looks at the world and yields what is missing. ``needs`` names
    steps: ``packages``, ``users``, ``release``, ``supervisor``,
    ``files:COMPONENT``, ``database:NAME``, ``process:NAME`` (started and
    ready), ``identity:COMPONENT``, another task as ``COMPONENT:TASK``, or
    ``ready``: all else is done. Others' are named by what they are for:
    ``capability:NAME`` stands for the processes and tasks of a capability, and for the
    users and endpoints of whoever provides it; ``provider:NAME`` for these and for
    every process of that component.
    With ``before_start`` the component's processes wait for it.
    """

    name: str
    ensure: Callable[[], Iterator[Change]]
    needs: tuple[str, ...] = ()
    before_start: bool = False
    scope: Scope = Scope.HOST


@dataclass(frozen=True)
class Job:
    """A function of ours that runs once, where a service's code is, as its component's user.

    ``run`` is ``module:function``; it is given ``arguments``, which go through JSON. ``name``
    names its log.
    """

    name: str
    component: str
    run: str
    arguments: Mapping[str, Any]
    environment: str = SERVICES


class GuestImage(Protocol):
    """The image of a machine that a component starts for itself, or for tests."""

    @property
    def name(self) -> str:
        """As in ``onestack image build-NAME``."""

    @property
    def title(self) -> str:
        """What people are told of it."""

    @property
    def digest(self) -> str:
        """Twelve digits that change with anything of its recipe."""

    @property
    def min_disk_gib(self) -> int:
        """The least that a flavor must have."""

    @property
    def min_ram_mib(self) -> int:
        """The least that a flavor must have."""

    def image(self, cache: Path) -> Path:
        """Where its qcow2 is in ``cache``, once it is built."""

    def build(self, cache: Path, tell: Callable[[str], None]) -> Path:
        """The same, built if it is not there. Raises `OnestackError`."""


@dataclass(frozen=True)
class StoreMount:
    """A store that must be mounted where those who use it run, before they start.

    ``store`` is a function, ``module:name``: with the cloud's root it gives an
    `onestack.storage.store.Attachable`. Where mount namespaces are private, what is mounted
    later is not seen in one that was made before: so each who must see it attaches it.
    """

    name: str
    store: str
    owner: str
    """The process whose it is: when that has ended it is detached."""
    seen_by: tuple[str, ...] = ()
    """Capabilities whose processes must see it too, and names of processes."""
    after: tuple[str, ...] = ()
    """Tasks (``COMPONENT:TASK``) that make it."""


@dataclass(frozen=True)
class Capability:
    """What others use without knowing who gives it: ``database``, ``identity``, ``image`` …

    A service of the catalog is named by its type. It is found at ``port`` of the host's
    internal address, or at ``socket`` below ROOT/run. Whoever needs it waits for
    ``processes`` to be ready, and for ``tasks`` (``COMPONENT:TASK``) to be done.
    """

    name: str
    processes: tuple[str, ...] = ()
    port: int = 0
    path: str = ""
    """What follows the port in its URL."""
    socket: str = ""
    group: str = ""
    """The component whose unix group may open the socket; empty: everybody may."""
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flavor:
    """``memory`` in MiB, ``disk`` in GiB."""

    name: str
    cpus: int
    memory: int
    disk: int


@dataclass(frozen=True)
class Holding:
    """Things that only people make in a project: found at ``path`` of the service."""

    path: str
    """Such as ``/servers``; its last word is the key of the answer's list, and ``{own}`` stands
    for the id of the administrator's own project."""
    query: Mapping[str, str]
    """``{project}`` stands for the project's id."""


@dataclass(frozen=True)
class Panel:
    """Pages of a service in the dashboard: a Python package of the dashboard's environment.

    The package may bring policies of its own: ``policies`` has the catalog's type of a service
    to the name with which their files begin.
    """

    package: str
    policies: Mapping[str, str] = field(default_factory=dict)
    application: str = ""
    """One of Django's, in the room's ``inside``, that gives them what the dashboard lacks."""


@dataclass(frozen=True)
class TempestResources:
    """What Tempest's tests are given of the running cloud, so that they need not make it."""

    image: str
    """Its id, as of the other two, and of the network."""
    flavor: str
    flavor_alt: str
    flavor_name: str
    flavor_alt_name: str
    public_network: str
    public_network_name: str
    private_network_name: str = ""
    """The demo's; empty without it."""
    extensions: tuple[str, ...] = ()
    """Of the network service."""
    objects: tuple[str, ...] = ()
    """What the object store says that it can do."""
    guest_images: Mapping[str, str] = field(default_factory=dict)
    """Ids of the images of services' guests, by their recipes' names."""


@dataclass(frozen=True)
class KnownError:
    """What a log line that matches ``pattern`` (a regular expression) most likely means.

    ``cause`` and ``cure`` are for people; ``{root}``, ``{data}`` and ``{log}`` in them are the
    cloud's places, ``{public}`` and ``{internal}`` its addresses, and the name of an answer
    key stands for what was answered.
    """

    pattern: str
    cause: str
    cure: str = ""
    everywhere: bool = False
    """Whether it is looked for in other components' logs too, after their own."""

    @property
    def sentence(self) -> str:
        return "; ".join(filter(None, (self.cause, self.cure)))
