"""libvirt and QEMU: a libvirtd of the cloud's own.

Debian 12 has only the monolithic daemon, whose places are compiled in. A
private mount namespace puts the cloud's directories there, so that several
clouds, and a libvirtd of the host's, live side by side. Guests are QEMU
processes of their own and outlive libvirtd.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components import hosts
from onestack.components.libvirt.undo import GUESTS, UNDO
from onestack.host.files import ensure_directory, ensure_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context, in_url
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    KnownError,
    Opened,
    Port,
    Task,
)
from onestack.model.host import Network, Role
from onestack.model.process import NotifyProbe, Process
from onestack.network.distribution import distribution

KVM = Path("/dev/kvm")
PORT = 16514
"""Where another host asks for a guest to be taken over, or its files: libvirt's own for TLS."""


class Libvirt(Component):
    name = "libvirt"
    undo = UNDO
    title = "libvirt"
    roles = frozenset({Role.COMPUTE})
    provides = (
        Capability("hypervisor", ("libvirtd",), socket="libvirt/libvirt-sock", group="libvirt"),
    )
    known_errors = (
        KnownError(
            "Could not access KVM kernel module",
            "KVM is not usable here",
            "set CONFIG_NOVA_LIBVIRT_VIRT_TYPE=qemu and run up again",
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        if answers[hosts.MOVE] and not answers[hosts.JOIN]:
            yield f"{hosts.MOVE}=y needs {hosts.JOIN}=y: servers move to hosts that have joined"

    def packages(self, ctx: Context) -> Iterable[str]:
        # The driver that keeps the keys of encrypted volumes: the daemon's own in Debian 12.
        secret = ("libvirt-daemon-driver-secret",) if ctx.facts.os_version != "12" else ()
        # The one that takes files for servers which are off and come from another host; likewise.
        moves = hosts.moving(ctx) and ctx.facts.os_version != "12"
        storage = ("libvirt-daemon-driver-storage",) if moves else ()
        return (
            "libvirt-daemon",
            "libvirt-daemon-driver-qemu",
            *secret,
            *storage,
            "python3-libvirt",
            "qemu-system-x86",
            "qemu-utils",
        )

    def users(self, ctx: Context) -> Iterable[str]:
        # members of the group libvirt may talk to libvirtd; guests run as qemu
        # libvirtd looks up its compiled-in user before it reads which one to use; only a
        # package that is not needed here (libvirt-daemon-system) makes it.
        return (ctx.cloud.user("libvirt"), ctx.cloud.user("qemu"), "libvirt-qemu")

    def directories(self, ctx: Context) -> Iterable[Directory]:
        for place, source in self._mounts(ctx).items():
            if not place.startswith(("/run", "/dev")):
                yield Directory(source, mode=0o755)
        private_run = ctx.cloud.run / "libvirtd"
        for path in (ctx.cloud.run / self.name, private_run):
            yield Directory(path, mode=0o755)
        for name in ("libvirt", "openvswitch"):
            yield Directory(private_run / name, mode=0o755)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        etc = ctx.cloud.etc / "libvirt"
        qemu = ctx.cloud.user("qemu")
        group, namespaces = qemu, '["mount"]'
        if _may_use_kvm(ctx):
            group = ctx.facts.kvm_group or qemu
        else:
            # libvirt cannot take what hides KVM along into a /dev of each guest's own
            namespaces = "[]"
        yield ConfigFile(
            etc / "libvirtd.conf",
            f"""# The socket is opened for it, for the compute service; no other way leads in.
auth_unix_rw = "none"
log_outputs = "3:stderr"
{_for_hosts(ctx)}""",
        )
        yield ConfigFile(
            etc / "qemu.conf",
            f"""user = "{qemu}"
group = "{group}"
namespaces = {namespaces}
dynamic_ownership = 1
# Logs and consoles go straight to files: there is no virtlogd.
stdio_handler = "file"
vnc_listen = "{hosts.reached_at(ctx)}"
cgroup_controllers = []
# AppArmor's knows only images in the machine's own places, and keeps its profiles in the
# machine's /etc. Guests run as a user of their own, each in a mount namespace.
security_driver = "none"
{_of_guests(ctx)}""",
        )

        yield ConfigFile(_no_kvm(ctx), "KVM does not work on this machine.\n", mode=0o600)

    def opened(self, ctx: Context) -> Iterable[Opened]:
        if hosts.moving(ctx):
            yield Opened(ctx.host.addresses[Network.GUESTS], Port("tcp", PORT))

    def processes(self, ctx: Context) -> Iterable[Process]:
        etc = ctx.cloud.etc / "libvirt"
        yield Process(
            name="libvirtd",
            component=self.name,
            # It makes cgroups, taps and file owners for guests.
            user="root",
            argv=(
                "/usr/sbin/libvirtd",
                "--config",
                "/etc/libvirt/libvirtd.conf",
                "--pid-file",
                "/run/libvirt/libvirtd.pid",
            ),
            files=(
                *(str(etc / "libvirtd.conf"), str(etc / "qemu.conf")),
                *(hosts.read_once(ctx) if hosts.moving(ctx) else ()),
            ),
            # the ovs-vsctl of the switch that runs
            env={"PATH": distribution(ctx).path, "MALLOC_ARENA_MAX": "1"},
            # Kept while it restarts: who asks it then waits, and is not refused.
            sockets={
                "libvirtd.socket": f"unix:{ctx.cloud.run}/libvirt/libvirt-sock",
                **_tls_socket(ctx),
            },
            sockets_group=ctx.cloud.user("libvirt"),
            mounts={place: str(source) for place, source in self._mounts(ctx).items()},
            # Connecting without a word would be an error in its log each time. Whether it
            # answers, the guests' process asks.
            probe=NotifyProbe(),
            kill_group=False,
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        needs = ("users", *((f"capability:{hosts.AUTHORITY}",) if hosts.purposes(ctx) else ()))
        yield Task("places", lambda: self._ensure_places(ctx), needs, before_start=True)

    def _ensure_places(self, ctx: Context) -> Iterator[Change]:
        """Something to mount on; what the host has already stays as it is.

        A file in each of them says whose it is, and that it is in use: whoever removes an empty
        directory (another cloud's end, dpkg) does not see what is mounted on it elsewhere, and
        would take that away with it.
        """
        ledger = Ledger.of(ctx.cloud)
        guests = {"user": ctx.cloud.user("qemu")}
        if not any(entry.kind == GUESTS and entry.data == guests for entry in ledger.entries()):
            yield Change(
                "note whose guests are the cloud's", lambda: ledger.record(GUESTS, **guests)
            )
        for place in self._mounts(ctx):
            if place.startswith(("/run", "/dev")):
                continue
            if not Path(place).is_dir():
                yield from ensure_directory(Path(place), ledger=ledger, shared=True)
            text = f"The cloud in {ctx.cloud.root} has a directory of its own mounted here.\n"
            yield from ensure_file(Path(place, f".onestack-{ctx.cloud.name}"), text, ledger=ledger)

    @staticmethod
    def _mounts(ctx: Context) -> dict[str, Path]:
        """Compiled-in place to the cloud's own directory."""
        cloud = ctx.cloud
        places = {
            "/etc/libvirt": cloud.etc / "libvirt",
            "/var/lib/libvirt": cloud.data / "libvirt",
            "/var/log/libvirt": cloud.data / "libvirt-log",
            "/var/cache/libvirt": cloud.data / "libvirt-cache",
            "/run": cloud.run / "libvirtd",
            "/run/libvirt": cloud.run / "libvirt",
        }
        if hosts.purposes(ctx):
            places["/etc/pki"] = hosts.pki(ctx)
        if ctx.offers("switch"):
            # libvirt plugs taps by ovs-vsctl, which looks for its socket here
            places["/run/openvswitch"] = cloud.run / "openvswitch"
        if ctx.facts.kvm_device and not _may_use_kvm(ctx):
            # QEMU hangs on a KVM that does not work, and libvirt with it: for 30 s at
            # every question. So nobody may open it.
            places[str(KVM)] = _no_kvm(ctx)
        return places


def _tls_socket(ctx: Context) -> dict[str, str]:
    """Opened for it as the other one is."""
    if not hosts.moving(ctx):
        return {}
    address = in_url(ctx.host.addresses[Network.GUESTS])
    return {"libvirtd-tls.socket": f"tcp:{address}:{PORT}"}


def _for_hosts(ctx: Context) -> str:
    """Of libvirtd.conf: other hosts are heard by their certificates."""
    if not hosts.moving(ctx):
        return ""
    return f"""# Two hosts whose boards have one identity would be one and the same to libvirt.
host_uuid = "{_identity(ctx)}"
auth_tls = "none"
tls_allowed_dn_list = ["{hosts.HEARD}"]
"""


def _of_guests(ctx: Context) -> str:
    """Of qemu.conf: what guests' processes show to others, and ask of them."""
    if not hosts.purposes(ctx):
        return ""
    consoles = f"""vnc_tls = 1
vnc_tls_x509_cert_dir = "/etc/pki/qemu"
vnc_tls_x509_verify = 1
{_of_volumes(ctx)}"""
    if not hosts.moving(ctx):
        return consoles
    return f"""{consoles}default_tls_x509_cert_dir = "/etc/pki/qemu"
default_tls_x509_verify = 1
migration_address = "{ctx.host.addresses[Network.GUESTS]}"
"""


def _of_volumes(ctx: Context) -> str:
    """Where the controller serves them, it is shown this."""
    return 'nbd_tls_x509_cert_dir = "/etc/pki/libvirt-nbd"\n' if hosts.served(ctx) else ""


def _identity(ctx: Context) -> str:
    """The same for as long as the host is one of the cloud's, and no other's of its."""
    if ctx.joined:
        return ctx.joined.identity
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{ctx.cloud.name}\0{ctx.host.name}"))


def _may_use_kvm(ctx: Context) -> bool:
    return ctx.facts.kvm or ctx.answers["CONFIG_NOVA_LIBVIRT_VIRT_TYPE"] == "kvm"


def _no_kvm(ctx: Context) -> Path:
    return ctx.cloud.etc / "libvirt" / "no-kvm"
