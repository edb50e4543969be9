"""Is this machine fit for a cloud? Everything that is not is said at once.

Needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.diagnose.machine import Machine, behind_a_proxy
from onestack.host import facts, filters, netns
from onestack.host.roots import foreign
from onestack.kernel import proc
from onestack.kernel.limits import OPEN_FILES
from onestack.model.cloud import CACHE, Cloud
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, info, refuse, warn
from onestack.release.release import Release

if TYPE_CHECKING:
    from onestack.model.component import Component
    from onestack.model.context import Context

GIB = 1 << 30
SUPPORTED = (("debian", "12"), ("debian", "13"))
MEMORY = 4 * GIB
SPARE = MEMORY // 16
"""What firmware and kernel keep of a machine that is sold as having 4 GiB."""
AVAILABLE = 2 * GIB
"""Below that a cloud does not start; below `MEMORY` a guest or two are all it can run."""
RELEASE_BYTES = 2 * GIB
PACKAGES_BYTES = 2 * GIB
ROOT_BYTES = 2 * GIB
LEAST_BYTES = GIB // 8
"""For what a run writes where everything is there already."""
FEWEST_FILES = 8192
"""haproxy has two connections for each that it lets in, RabbitMQ files beside its own."""
RELEASED = 1_790_000_000
"""September 2026 in seconds since 1970: a clock before that is wrong."""


class NotAsked(Exception):
    """There is nothing yet to ask another machine with: a later look has to."""


@dataclass(frozen=True)
class Needs:
    """What the cloud will use of the machine. Bytes; ports with address and process."""

    ports: Sequence[tuple[str, int, str]] = ()
    packages: Sequence[str] = ()
    downloads: Sequence[str] = ()
    """What else is to be fetched, each as a sentence."""
    release_installed: bool = False
    requirement: str = ""
    """One of the release's packages, ``name==version``, to try the index with."""
    root_bytes: int = ROOT_BYTES
    started: Sequence[str] = ()
    """Programs that services and tasks start, each by the name of its file."""
    running: bool = False
    """Whether this cloud runs already, and has its memory."""


@dataclass(frozen=True)
class Subject:
    """What every check is given."""

    cloud: Cloud
    machine: Machine
    needs: Needs = field(default_factory=Needs)

    @property
    def facts(self) -> facts.HostFacts:
        return self.machine.facts


def gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"


def check_root(s: Subject) -> Iterator[Finding]:
    if s.machine.user() != 0:
        yield refuse(
            "onestack is not run by root",
            "it makes users, network devices and services",
            "sudo ./onestack up",
        )


def check_system(s: Subject) -> Iterator[Finding]:
    if (s.facts.os_id, s.facts.os_version) not in SUPPORTED:
        yield refuse(
            f"{s.facts.os_name or 'this system'} is not supported",
            "the packages and their versions are those of Debian 12 and 13",
            "install Debian 12 or 13 on this machine, or use one that has it",
        )
    if s.machine.python < (3, 11):
        version = ".".join(map(str, s.machine.python))
        yield refuse(f"Python {version} is too old", "3.11 is needed", "apt-get install python3")
    if s.facts.cores < 1:
        yield refuse("there is no processor core to use", cure="see nproc and taskset -p 1")
    elif s.facts.cores < 2:
        yield info("there is one processor core", "two or more make everything quicker")


def check_memory(s: Subject) -> Iterator[Finding]:
    have, free = s.facts.memory, s.facts.memory_available
    if have < MEMORY - SPARE:
        yield refuse(
            f"the machine has {gib(have)} of memory",
            f"a cloud and one guest need {gib(MEMORY)}",
            "give the machine more memory",
        )
    elif s.needs.running:
        return
    elif free < AVAILABLE:
        yield refuse(
            f"only {gib(free)} of {gib(have)} of memory is free",
            f"a cloud needs {gib(AVAILABLE)} to start",
            "see what uses it: ps aux --sort=-rss | head",
        )
    elif free < MEMORY - SPARE:
        yield warn(
            f"{gib(free)} of {gib(have)} of memory is free",
            f"with less than {gib(MEMORY)} there is room for few guests",
            "see what uses it: ps aux --sort=-rss | head",
        )


def check_disk(s: Subject) -> Iterator[Finding]:
    missing = missing_packages(s)
    least = 0 if s.needs.running else LEAST_BYTES
    wanted: dict[Path, int] = {s.cloud.root: s.needs.root_bytes or least}
    wanted[CACHE] = least if s.needs.release_installed else RELEASE_BYTES
    wanted[Path("/usr")] = PACKAGES_BYTES if missing else 0
    together: dict[str, tuple[int, list[Path]]] = {}
    for path, size in wanted.items():
        mount = s.machine.mount_of(path)
        place = str(mount.target) if mount else "/"
        before, paths = together.get(place, (0, []))
        together[place] = (before + size, [*paths, path] if size else paths)
    for place, (size, paths) in together.items():
        free = s.machine.disk_free(Path(place))
        if size and free < size:
            yield refuse(
                f"{gib(free)} is free on {place}",
                f"{', '.join(map(str, paths))} need {gib(size)}",
                f"make room: du -xh -d2 {place} | sort -h | tail",
            )


def check_mounts(s: Subject) -> Iterator[Finding]:
    for path in (s.cloud.root, CACHE):
        mount = s.machine.mount_of(path)
        if mount is None:
            continue
        remount = f"mount -o remount,{{}} {mount.target}"
        if "ro" in mount.options:
            yield refuse(
                f"{path} is on a file system that is mounted read-only",
                f"{mount.source} on {mount.target}",
                remount.format("rw"),
            )
        if "noexec" in mount.options:
            yield refuse(
                f"{path} is on a file system from which nothing may be executed (noexec)",
                f"{mount.source} on {mount.target}",
                remount.format("exec") + ", or choose another --root",
            )
        for option in ("nodev", "nosuid"):
            if option in mount.options:
                yield warn(
                    f"{path} is on a file system mounted {option}",
                    f"{mount.source} on {mount.target}; guests' files or helpers may need it",
                    remount.format(option.removeprefix("no")),
                )


def check_place(s: Subject) -> Iterator[Finding]:
    if strangers := foreign(s.cloud.root):
        yield refuse(
            f"{s.cloud.root} is not empty, and is no cloud's",
            f"it holds {', '.join(strangers)}",
            "give another directory with --root, or move that away",
        )


def check_folders(s: Subject) -> Iterator[Finding]:
    for path in (s.cloud.root, CACHE):
        if folder := s.machine.closed_folder(path):
            yield refuse(
                f"nobody but its owner gets through {folder}",
                f"{path} is below it, and services run as users of their own (a umask of 077 "
                "makes such folders)",
                f"chmod o+x {folder}" + ("" if path == CACHE else ", or choose another --root"),
            )


def check_ports(s: Subject) -> Iterator[Finding]:
    blocking: dict[tuple[str, int], list[str]] = {}
    listening = s.machine.listeners()
    clashes = [
        (address, port, who, listener)
        for address, port, who in s.needs.ports
        for listener in listening
        if listener.port == port and listener.blocks(address)
    ]
    owners = {o.inode: o for o in s.machine.owners([c[3] for c in clashes])}
    for address, port, who, listener in clashes:
        pid = owners[listener.inode].pid if listener.inode in owners else 0
        if pid and s.machine.root_of(pid) == str(s.cloud.root):
            continue
        place = (listener.address, port)
        if place in blocking:
            continue
        blocking[place] = [who]
        command = owners[listener.inode].command if pid else ""
        holder = f"process {pid} ({command})" if pid else "a process that cannot be seen from here"
        cloud = s.machine.root_of(pid) if pid else ""
        yield refuse(
            f"port {port} of {address} is taken",
            f"{holder}{f', of the cloud in {cloud}' if cloud else ''} listens on "
            f"{listener.address}:{port}, where {who} is to listen",
            f"stop it ({stopping(s, pid, port)}), or use --netns for this cloud"
            if pid
            else f"ss -ltnp sport = {port}",
        )


CONTAINERS = ("containerd.service", "docker.service")
LOGINS = ("ssh.service", "sshd.service")
HOSTS = ("atd.service", "cron.service", "crond.service", "supervisor.service")
"""Units whose processes are others' for the most part: what they started stays in theirs."""


def stopping(s: Subject, pid: int, port: int = 0) -> str:
    """What ends a process for good: one of a unit's would be started again.

    And nothing else: neither what the unit does besides, nor the way in of who types it.
    """
    unit = s.machine.unit_of(pid)
    if root := s.machine.root_of(pid):
        return f"onestack down --root {root}, with its --name"
    if pid == 1:
        return "systemctl list-sockets names its unit: systemctl disable --now UNIT"
    if unit in CONTAINERS:
        return f"docker ps --filter publish={port} names the container: docker stop CONTAINER"
    if unit in LOGINS and s.machine.program(pid) == "sshd":
        return "another Port in /etc/ssh/sshd_config, then: systemctl restart ssh"
    if not unit or unit in (*LOGINS, *HOSTS) or unit.startswith(("dbus", "getty@", "systemd-")):
        return f"kill {pid}"
    # whose parts the other starts again
    unit = {"ovs-vswitchd.service": "openvswitch-switch.service"}.get(unit, unit)
    return f"systemctl disable --now {unit}"


def check_hostname(s: Subject) -> Iterator[Finding]:
    name = s.facts.hostname
    if not s.facts.hostname_address:
        yield refuse(
            f"the hostname {name!r} does not resolve",
            "services find themselves by it",
            f"echo '127.0.1.1 {name}' >> /etc/hosts",
        )


def missing_packages(s: Subject) -> list[str]:
    return [name for name in s.needs.packages if name not in s.facts.packages]


def check_apt(s: Subject) -> Iterator[Finding]:
    missing = missing_packages(s)
    if not (missing or s.needs.downloads):
        return
    wanted = [f"{len(missing)} packages are to be installed"] if missing else []
    for site, why in s.machine.apt_problems(missing):
        yield refuse(
            f"the package mirror {site} is not reached",
            "; ".join([why, *wanted, *(f"wanted: {what}" for what in s.needs.downloads)]),
            f"check the network and /etc/apt/sources.list*, then: apt-get update{behind_a_proxy()}",
        )


def check_index(s: Subject) -> Iterator[Finding]:
    if s.needs.release_installed or not s.needs.requirement:
        return
    why = s.machine.index_problem(s.needs.requirement)
    if why is None:
        raise NotAsked
    if why:
        yield refuse(
            "the Python package index is not reached",
            f"the release is installed from there; {why}",
            "check the network and proxy; another index: pip config set global.index-url URL"
            f"{behind_a_proxy()}",
        )


def check_time(s: Subject) -> Iterator[Finding]:
    if s.machine.now() < RELEASED:
        yield refuse(
            "the clock is wrong",
            "it shows a time before this program was made; certificates and tokens would not hold",
            "date -s 'YYYY-MM-DD HH:MM', or have it set: timedatectl set-ntp yes",
        )
    elif s.machine.clock_synchronised() is False:
        yield info(
            "the clock is not synchronised",
            "tokens and logs go by it",
            "timedatectl set-ntp yes, or install chrony",
        )


def check_devices(s: Subject) -> Iterator[Finding]:
    if not s.facts.tun and "tun" not in s.facts.modules:
        yield refuse(
            "there is no /dev/net/tun",
            "guests are connected through it",
            "modprobe tun; in a container, pass the device in",
        )
    if s.facts.kvm:
        yield info("guests run on KVM")
    else:
        yield info("guests are emulated (TCG), which is slow", f"KVM: {s.facts.kvm_reason}")


def check_limits(s: Subject) -> Iterator[Finding]:
    allowed = s.machine.open_files()
    if allowed < FEWEST_FILES:
        yield refuse(
            f"a program may have only {allowed} files open",
            f"the cloud's front and its bus need {FEWEST_FILES}, and this limit cannot be lifted "
            "from here",
            f"ulimit -Hn {OPEN_FILES} as root of the machine, or start the container with "
            f"--ulimit nofile={OPEN_FILES}",
        )


def check_network(s: Subject) -> Iterator[Finding]:
    if managers := s.facts.nic_managers:
        yield info(
            f"{s.facts.nic}, the way to the outside, is configured by {' and '.join(managers)}",
            "onestack leaves it alone",
        )


def check_confined(s: Subject) -> Iterator[Finding]:
    """What the supervisor starts leaves its profile; what services start then has it."""
    for profile in s.machine.enforced():
        program = profile.rpartition("/")[2]
        if "//" not in profile and program in s.needs.started:
            yield warn(
                f"AppArmor lets {program} have only files of the machine's own",
                f"so says the profile {profile}; the cloud starts it with files in {s.cloud.root}",
                f"aa-complain {profile} (of the package apparmor-utils), or rules for "
                f"{s.cloud.root}/** in /etc/apparmor.d/local",
            )


def check_filter(s: Subject) -> Iterator[Finding]:
    """Whether other machines reach the fronts. No use looks from inside one's own namespace."""
    public = s.facts.public_address
    wanted = sorted({port for address, port, _ in s.needs.ports if address == public})
    device = s.facts.device_of(public)
    if s.cloud.netns or device in ("", "lo") or not wanted:
        return
    for chain, shut in filters.shut_ports(s.machine.filters(), device, wanted):
        ports = ",".join(map(str, shut))
        yield warn(
            "other machines do not reach the cloud",
            f"the packet filter's chain {chain.name} drops what comes by {device} to the "
            f"ports {ports} ({chain.who} has set that)",
            chain.opening({"in": device, "dport": ports}),
        )


def check_daemons(s: Subject) -> Iterator[Finding]:
    if s.cloud.netns:
        return
    for daemon in s.machine.daemons(("ovs-vswitchd", "libvirtd", "virtqemud")):
        if daemon.root:
            continue
        kernel = daemon.name == "ovs-vswitchd" and s.facts.ovs_kernel
        make = refuse if kernel else warn
        yield make(
            f"{daemon.name} runs already, and is not this cloud's (process {daemon.pid})",
            "two of them would fight over the kernel's datapath"
            if kernel
            else "the cloud has its own, with its own files and sockets; names may be confused",
            f"stop it if nothing else needs it: {stopping(s, daemon.pid)}; or use --netns for this "
            "cloud, which has a datapath of its own then",
        )


Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    check_root,
    check_system,
    check_memory,
    check_disk,
    check_mounts,
    check_place,
    check_folders,
    check_ports,
    check_hostname,
    check_time,
    check_devices,
    check_limits,
    check_network,
    check_confined,
    check_filter,
    check_daemons,
    check_apt,
    check_index,
)


REMOTE: tuple[Check, ...] = (check_apt, check_index)
"""Those that ask other machines, which may take seconds."""
Remote = dict[str, list[Finding]]
"""What checks of `REMOTE` have found, by their name: enough to be asked once a command."""


def look(
    subject: Subject, checks: Sequence[Check] = CHECKS, remote: Remote | None = None
) -> list[Finding]:
    """All findings of all checks. A check that cannot look says so, as a warning.

    What ``remote`` has is not asked again; what was asked is put there, and nothing else.
    """
    known: Remote = {} if remote is None else remote
    waiting = [
        _Beside(check, subject)
        for check in checks
        if check in REMOTE and check.__name__ not in known
    ]
    found = {check.__name__: _findings(check, subject) for check in checks if check not in REMOTE}
    for beside in waiting:
        with contextlib.suppress(NotAsked):
            known[beside.check.__name__] = beside.result()
    found = {**known, **found}
    return [f for check in checks for f in found.get(check.__name__, ())]


def _findings(check: Check, subject: Subject) -> list[Finding]:
    try:
        return list(check(subject))
    except (OnestackError, OSError) as error:
        what = error.what if isinstance(error, OnestackError) else str(error)
        return [warn(f"the check {check.__name__.removeprefix('check_')} failed", what)]


class _Beside(threading.Thread):
    """A check that is made while others are. It keeps nobody from leaving (Ctrl-C)."""

    def __init__(self, check: Check, subject: Subject) -> None:
        super().__init__(daemon=True)
        self.check, self._subject = check, subject
        self._found: list[Finding] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = _findings(self.check, self._subject)
        except BaseException as error:  # noqa: BLE001
            self._error = error

    def result(self) -> list[Finding]:
        """Raises what the check raised."""
        self.join()
        if self._error:
            raise self._error
        return self._found


def examine(
    cloud: Cloud,
    host: facts.HostFacts,
    needs: Needs,
    machine: Machine | None = None,
    remote: Remote | None = None,
) -> list[Finding]:
    """The findings for ``cloud``; its ports are looked at in its own network namespace.

    ``remote`` is as for `look`.
    """
    subject = Subject(cloud, machine or Machine(host), needs)
    if cloud.netns is None:
        return look(subject, remote=remote)
    found = look(subject, [check for check in CHECKS if check is not check_ports], remote)
    if netns.exists(cloud.netns):
        with netns.inside(cloud.netns):
            found += look(subject, [check_ports])
    return found


def component_checks(ctx: Context) -> list[Finding]:
    """What the components find on this machine against their answers."""
    return asked(ctx, "what this machine lacks", lambda component: component.preflight_checks(ctx))


def asked(ctx: Context, what: str, ask: Callable[[Component], Iterable[Finding]]) -> list[Finding]:
    """All that components say to ``ask``. One that cannot look says so, as a warning."""
    found: list[Finding] = []
    for component in (c for c in ctx.components if ctx.here(c.roles)):
        try:
            found += ask(component)
        except (OnestackError, OSError) as error:
            title = component.title or component.name
            why = error.what if isinstance(error, OnestackError) else str(error)
            found.append(warn(f"{title} could not be asked for {what}", why))
    return found


def needs_of(ctx: Context) -> Needs:
    """What the components of ``ctx`` will use, and what of it is there."""
    from onestack.deploy.prepare import wanted_environments, wanted_packages
    from onestack.deploy.roster import ports, roster_path

    return Needs(
        ports=ports(ctx),
        packages=wanted_packages(ctx),
        started=sorted({name for declared in ctx.model.here for name in declared.started}),
        downloads=downloads_of(ctx),
        release_installed=all(
            ctx.release.environment(name).complete for name in wanted_environments(ctx)
        ),
        requirement=requirement_of(ctx.release),
        # A cloud that is there must come up again also where its disk has become full.
        root_bytes=(0 if roster_path(ctx.cloud).exists() else ROOT_BYTES)
        + sum(declared.disk for declared in ctx.model.here),
        running=bool(proc.belonging(ctx.cloud.root)),
    )


def downloads_of(ctx: Context) -> list[str]:
    """What the components would fetch beside packages, as far as it can be told already."""
    found = []
    for declared in ctx.model.here:
        try:
            for task in declared.downloads:
                found += [change.what for change in task.ensure()]
        except ImportError:
            # Before our own environment exists not all of it can be asked.
            continue
    return found


def requirement_of(wanted: Release) -> str:
    """The first package of the services' lock."""
    lines = wanted.services.lock.read_text().splitlines()
    return next((line.split()[0] for line in lines if "==" in line and line[0].isalnum()), "")
