"""The shape every component has: it says what it wants as data, and does nothing.

The engine in `onestack.deploy` makes it so; it knows no component by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.model.change import Change, Undo
from onestack.model.declarations import (
    BusAccount,
    Capability,
    ConfigFile,
    Database,
    Directory,
    Flavor,
    Frontend,
    GuestImage,
    Holding,
    Identity,
    KnownError,
    Opened,
    Panel,
    StoreMount,
    Task,
    TempestResources,
)
from onestack.model.findings import Finding
from onestack.model.host import Role
from onestack.model.ini import Ini
from onestack.model.key import Key
from onestack.model.process import Process
from onestack.model.root_command import RootCommand
from onestack.model.secret import Secret

if TYPE_CHECKING:
    from onestack.answers.values import Answers
    from onestack.model.context import Context


class Part:
    """What a component and a feature of one have in common. Subclasses override what they have.

    Each method is asked once a stage, by `onestack.model.declared.Declared`, whose
    attributes have the same names: everybody else reads those. What needs something that
    is not installed yet raises `onestack.model.errors.NotInstalled`.
    """

    name: str = ""
    title: str = ""
    provides: tuple[Capability, ...] = ()
    known_errors: tuple[KnownError, ...] = ()
    """The likely cause and cure behind lines of the component's logs."""

    def packages(self, ctx: Context) -> Iterable[str]:
        """Debian packages."""
        return ()

    def started(self, ctx: Context) -> Iterable[str]:
        """Programs that its processes and tasks start, and the supervisor does not.

        By the names of their files. An AppArmor profile for one keeps it from the cloud's files.
        """
        return ()

    def environments(self, ctx: Context) -> Iterable[str]:
        """Further Python environments of the release, by the name of their lock file.

        `Release.environment` says where such a one is.
        """
        return ()

    def disk(self, ctx: Context) -> int:
        """Bytes that must be free below the cloud's root for what is not there yet."""
        return 0

    def users(self, ctx: Context) -> Iterable[str]:
        """System users, by `Cloud.user`."""
        return ()

    def directories(self, ctx: Context) -> Iterable[Directory]:
        return ()

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        return ()

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        """Its share of INI files that another part of the component has, by their path.

        A list of values follows the values that are there; every other option is its alone.
        """
        return {}

    def databases(self, ctx: Context) -> Iterable[Database]:
        return ()

    def identity(self, ctx: Context) -> Iterable[Identity]:
        return ()

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        return ()

    def opened(self, ctx: Context) -> Iterable[Opened]:
        """What its processes open themselves, beside loopback: each needs a guard of its own."""
        return ()

    def bus(self, ctx: Context) -> Iterable[BusAccount]:
        """Accounts of the message bus that are for it alone."""
        return ()

    def processes(self, ctx: Context) -> Iterable[Process]:
        return ()

    def stores(self, ctx: Context) -> Iterable[StoreMount]:
        """What must be mounted before processes of its own, and of others, start."""
        return ()

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        """Unix user to the privsep contexts it may ask the supervisor for."""
        return {}

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        """Unix user to the commands that it may have run for it by ``runtime/root-helper``."""
        return {}

    def preload(self, ctx: Context) -> Iterable[str]:
        """Modules worth importing once, in the supervisor; none may import eventlet."""
        return ()

    def zygote(self, ctx: Context) -> Iterable[str]:
        """Modules that all of this component's Python processes share, and no other may have.

        They are imported once, in a zygote of the component's own, from which its processes
        and their privsep daemons are forked. It may name ``eventlet``, where upstream cannot
        do without importing it.
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

    def dashboard(self, ctx: Context) -> Iterable[Panel]:
        """Its pages in the dashboard."""
        return ()

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        """Options of tempest.conf that say what is here to be tested."""
        return {}

    def purge(self, ctx: Context) -> Iterator[Change]:
        """Switched off for good: what its own tasks and its users made elsewhere, undone.

        The processes of all that is on are ready by then. Databases, users, files and
        directories are removed by the engine, afterwards.
        """
        yield from ()


class Feature(Part):
    """What a component has with some answers, or on some machines, and not with others.

    While it is off and its component is on, `up` removes its files, and with ``--purge``
    all else that it has left, as of a component that is off.
    """

    after: tuple[str, ...] = ()
    """Features of the same component that are purged before it."""

    def on(self, ctx: Context) -> bool:
        """Not asked of `Context.offers` by a feature that provides something itself."""
        raise NotImplementedError

    def markers(self, ctx: Context) -> Iterable[Path]:
        """Below the root: each tells, while it is there, that something is left of it.

        They stay at `up`, and are removed by its own `purge`.
        """
        return ()


class Component(Part):
    """One OpenStack service, or one daemon it needs."""

    keys: tuple[Key, ...] = ()
    secrets: tuple[Secret, ...] = ()
    versions: tuple[str, ...] = ()
    """Debian packages whose version its declarations depend on, also before they are
    installed: `onestack.host.facts.HostFacts.package_version`."""
    features: tuple[Feature, ...] = ()
    roles: frozenset[Role] = frozenset({Role.CONTROLLER})
    """Hosts with one of these have it, as far as `Process.roles` and the like do not say more."""
    zygote_isolated: bool = False
    """Whether its zygote is a program of its own, not forked from the supervisor:
    for those who change Python itself, and would change what the others have imported."""
    clients: tuple[str, ...] = ()
    """Commands of the clients' environment for it."""
    foreign_commands: Mapping[str, str] = {}
    """First word of commands of ``openstack`` whose client is in an environment of its own, to
    that environment: while the component is on, they are sent there."""
    guest_images: tuple[GuestImage, ...] = ()
    """Of machines that it starts: `onestack image` builds each, also where it is off."""
    flavors: tuple[Flavor, ...] = ()
    """Those that it makes for its own guests: people's are made beside them."""
    holdings: tuple[Holding, ...] = ()
    """What people make with it in a project, by its first capability's URL."""
    purged_before: tuple[str, ...] = ()
    """Capabilities whose own data its `purge` reads: where their provider is switched off too,
    that one's purge comes after it."""
    undo: Mapping[str, Undo] = {}
    """What undoes the kinds of entries that it alone writes into the ledger."""
    meters: tuple[str, ...] = ()
    """What metering asks of it: upstream's names of Ceilometer's meters."""
    tempest_service: str = ""
    """What Tempest and its plugins call it."""
    tempest_plugin: str = ""
    """The package of its own tests, beside Tempest's: no test of another's begins like it."""

    def enabled(self, answers: Answers) -> bool:
        return True

    def validate(self, answers: Answers) -> Iterable[str]:
        """Answers of this component that cannot be together, each as a sentence."""
        return ()

    def remarks(self, answers: Answers) -> Iterable[str]:
        """What of valid answers counts for nothing, each as a sentence."""
        return ()

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        """What of this machine does not fit this component's answers.

        With the standard library alone, quick, changing nothing.
        """
        return ()

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        """What a look at what it does shows, in a running cloud, besides processes and logs.

        Raises `OnestackError` where it cannot look.
        """
        return ()

    def users(self, ctx: Context) -> Iterable[str]:
        """Usually one, the component's own."""
        return (ctx.cloud.user(self.name),)
