"""libvirt and QEMU: a libvirtd of the cloud's own.

Debian 12 has only the monolithic daemon, whose places are compiled in. A
private mount namespace puts the cloud's directories there, so that several
clouds, and a libvirtd of the host's, live side by side. Guests are QEMU
processes of their own and outlive libvirtd.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.base import Component, ConfigFile, Context, Directory, Task
from onestack.components.cinder import attach_command
from onestack.host.change import Change
from onestack.host.files import ensure_directory
from onestack.host.ledger import Ledger
from onestack.supervise.spec import Probe, Process


class Libvirt(Component):
    name = "libvirt"
    title = "libvirt"

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def packages(self, ctx: Context) -> Iterable[str]:
        return (
            "libvirt-daemon",
            "libvirt-daemon-driver-qemu",
            "python3-libvirt",
            "qemu-system-x86",
            "qemu-utils",
        )

    def users(self, ctx: Context) -> Iterable[str]:
        # members of the group libvirt may talk to libvirtd; guests run as qemu
        return (ctx.cloud.user("libvirt"), ctx.cloud.user("qemu"))

    def directories(self, ctx: Context) -> Iterable[Directory]:
        for source in self._mounts(ctx).values():
            if source.parent.name != "run":
                yield Directory(source, mode=0o755)
        private_run = ctx.cloud.run / "libvirtd"
        for path in (ctx.cloud.run / self.name, private_run):
            yield Directory(path, mode=0o755)
        for name in ("libvirt", "openvswitch"):
            yield Directory(private_run / name, mode=0o755)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        etc = ctx.cloud.etc / "libvirt"
        qemu = ctx.cloud.user("qemu")
        yield ConfigFile(
            etc / "libvirtd.conf",
            f"""# The socket is for the compute service; no other way leads in.
unix_sock_group = "{ctx.cloud.user("libvirt")}"
unix_sock_ro_perms = "0770"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:stderr"
""",
        )
        # Without a host's AppArmor there is no confinement to be had from it.
        security = "" if Path("/sys/kernel/security/apparmor").is_dir() else "none"
        driver = f'security_driver = "{security}"\n' if security else ""
        yield ConfigFile(
            etc / "qemu.conf",
            f"""user = "{qemu}"
group = "{qemu}"
dynamic_ownership = 1
# Logs and consoles go straight to files: there is no virtlogd.
stdio_handler = "file"
vnc_listen = "{ctx.internal}"
cgroup_controllers = []
{driver}""",
        )

    def processes(self, ctx: Context) -> Iterable[Process]:
        etc = ctx.cloud.etc / "libvirt"
        socket = ctx.cloud.run / "libvirt" / "libvirt-sock"
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
            files=(str(etc / "libvirtd.conf"), str(etc / "qemu.conf")),
            env={"PATH": f"{ctx.cloud.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "MALLOC_ARENA_MAX": "1"},
            mounts={place: str(source) for place, source in self._mounts(ctx).items()},
            # Where mounts are private (no systemd), what is mounted later is not seen in a
            # mount namespace of its own: the volumes' pool must be there before.
            prepare=(attach_command(ctx),) if ctx.has("cinder") else (),
            probe=Probe("connect", f"unix:{socket}"),
            kill_group=False,
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        pool = ("cinder:pool",) if ctx.has("cinder") else ()
        yield Task("places", lambda: self._ensure_places(ctx), ("users", *pool), before_start=True)

    def _ensure_places(self, ctx: Context) -> Iterator[Change]:
        """Something to mount on; what the host has already stays as it is."""
        ledger = Ledger.of(ctx.cloud)
        for place in self._mounts(ctx):
            if not place.startswith("/run") and not Path(place).is_dir():
                yield from ensure_directory(Path(place), ledger=ledger)

    def explain(self, ctx: Context, text: str) -> str | None:
        if "Could not access KVM kernel module" in text:
            return "KVM is not usable here; set CONFIG_NOVA_LIBVIRT_VIRT_TYPE=qemu and run up again"
        return None

    @staticmethod
    def _mounts(ctx: Context) -> dict[str, Path]:
        """Compiled-in place to the cloud's own directory."""
        cloud = ctx.cloud
        return {
            "/etc/libvirt": cloud.etc / "libvirt",
            "/var/lib/libvirt": cloud.data / "libvirt",
            "/var/log/libvirt": cloud.data / "libvirt-log",
            "/var/cache/libvirt": cloud.data / "libvirt-cache",
            "/run": cloud.run / "libvirtd",
            "/run/libvirt": cloud.run / "libvirt",
            # libvirt plugs taps by ovs-vsctl, which looks for its socket here
            "/run/openvswitch": cloud.run / "openvswitch",
        }
