"""Which Open vSwitch (and OVN) runs: this Debian's, or Debian 13's in a root of its own.

Where the kernel has no datapath, Debian 12's Open vSwitch 3.1.0 loses most of what is
sent to guests, and ends itself in the connection tracking that OVN needs. There, Debian
13's programs are fetched by apt, with their libraries, and started by their own loader;
nothing of it is installed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.host import archive
from onestack.host.command import run
from onestack.host.locks import file_lock
from onestack.kernel.files import sync_directory
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.network.backend import SWITCH, unfit_in_userspace
from onestack.network.bridges import Bridges

SUITE = "trixie"
PACKAGES = ("openvswitch-switch", "openvswitch-common", "ovn-central", "ovn-host", "ovn-common")
NOT_NEEDED = re.compile(r"libpython|libsystemd-shared|libpam|libnewt|libslang|libdebian-installer")
PROGRAMS = (
    *("ovs-vsctl", "ovs-appctl", "ovs-ofctl", "ovs-dpctl", "ovsdb-client", "ovsdb-tool"),
    *("ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller"),
    *("ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-trace"),
)
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Distribution:
    """``tree`` is ``None`` for the programs that this Debian has installed."""

    tree: Path | None

    @property
    def path(self) -> str:
        """A search path on which the right programs come first."""
        return f"{self.tree / 'bin'}:{SYSTEM_PATH}" if self.tree else SYSTEM_PATH

    def program(self, name: str) -> str:
        if self.tree:
            return str(self.tree / "bin" / name)
        # Debian's packages have the two daemons for root there, in each release.
        return f"/usr/{'sbin' if name in ('ovs-vswitchd', 'ovsdb-server') else 'bin'}/{name}"

    def schema(self, name: str) -> str:
        """The file of the database schema ``vswitch``, ``ovn-nb`` or ``ovn-sb``."""
        folder = "openvswitch" if name == "vswitch" else "ovn"
        share = self.tree / "share" if self.tree else Path("/usr/share", folder)
        return str(share / f"{name}.ovsschema")


def needs_own(ctx: Context) -> bool:
    """Whether this Debian's Open vSwitch is none for what is wanted of it."""
    return ctx.once(Bridges).datapath == "netdev" and unfit_in_userspace(
        ctx.facts.package_version(SWITCH)
    )


def distribution(ctx: Context) -> Distribution:
    return ctx.once(_distribution)


def _distribution(ctx: Context) -> Distribution:
    return Distribution(CACHE / f"openvswitch-{SUITE}" if needs_own(ctx) else None)


def environment(ctx: Context) -> dict[str, str]:
    """Of whatever talks to the cloud's own switch: compiled-in places, moved."""
    run, data = ctx.cloud.run / "openvswitch", str(ctx.cloud.data / "openvswitch")
    return {
        "PATH": distribution(ctx).path,
        "OVS_RUNDIR": str(run),
        "OVS_DBDIR": data,
        "OVS_SYSCONFDIR": data,
        "OVS_LOGDIR": str(ctx.cloud.log),
    }


def ensure_unpacked(ctx: Context) -> Iterator[Change]:
    """Debian 13's Open vSwitch and OVN, where needed, whole or not at all."""
    tree = distribution(ctx).tree
    if tree and not tree.is_dir():
        yield Change(
            "fetch Debian 13's Open vSwitch and OVN: this Debian's is not fit for userspace",
            lambda: _fetch(tree),
        )


def _fetch(tree: Path) -> None:
    with file_lock(CACHE / "openvswitch.lock", "another cloud fetches Open vSwitch"):
        if not tree.is_dir():
            unpack(tree)


def unpack(tree: Path) -> None:
    """Raises `OnestackError` when apt knows no Debian mirror or cannot fetch."""
    suites = {SUITE: archive.mirrors()[""]}
    tree.parent.mkdir(parents=True, exist_ok=True)
    for left in tree.parent.glob(f".{tree.name}-*"):
        # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{tree.name}-", dir=tree.parent))
    try:
        work.chmod(0o755)
        options = archive.isolated_apt(work / "apt", suites)
        archive.apt("apt-get", *options, "update", "-q", timeout=180)
        depends = "--recurse --no-recommends --no-suggests --no-conflicts --no-breaks"
        listed = run(
            [
                *("apt-cache", *options, "depends", *depends.split()),
                *("--no-replaces", "--no-enhances", "-i", *PACKAGES),
            ],
            timeout=60,
        ).out
        libraries = {name for name in listed.split() if re.fullmatch(r"lib[a-z0-9.+-]+", name)}
        wanted = [*PACKAGES, *sorted(n for n in libraries if not NOT_NEEDED.match(n))]
        debs = work / "debs"
        debs.mkdir()
        debs.chmod(0o777)  # apt fetches as a user of its own
        archive.apt("apt-get", *options, "download", "-q", *wanted, cwd=debs, timeout=600)
        root, made = work / "root", work / "tree"
        root.mkdir()
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), str(root)], timeout=120)
        gather(root, made, tree)
        made.chmod(0o755)
        run(["sync", "-f", str(made)], timeout=120)
        made.rename(tree)
        sync_directory(tree.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def gather(root: Path, made: Path, final: Path) -> None:
    """Take what the programs need out of the unpacked packages, and no more.

    ``made`` will be moved to ``final``. Each program gets a small script that
    starts it with its own loader, its own libraries and its right name.
    """
    usr = root / "usr"
    libraries = next(usr.glob("lib/*-linux-gnu*/libc.so.6")).parent
    loader = next(libraries.glob("ld-linux*.so.*"))
    # ovs-vswitchd comes onto the path by an alternative, which nothing sets here
    places = [usr / part for part in ("bin", "sbin", "lib/openvswitch-switch")]
    for name in ("bin", "lib", "libexec", "share"):
        (made / name).mkdir(parents=True)
    shutil.copy2(loader, made / "lib" / loader.name)
    for name in PROGRAMS:
        found = next((p / name for p in places if (p / name).exists()), None)
        if found is None:
            raise OnestackError(
                f"Debian 13's packages have no program {name}",
                "the packages were made otherwise than when onestack was written",
                "use a machine with Debian 13, or whose kernel has the module openvswitch",
            )
        shutil.copy2(found, made / "libexec" / name)
        # Fails when a library is missing.
        listed = run([loader, "--library-path", libraries, "--list", found], timeout=20).out
        for library in re.findall(r"=> (\S+) \(", listed):
            shutil.copy2(library, made / "lib" / Path(library).name)
        starter = made / "bin" / name
        starter.write_text(
            f"#!/bin/sh\nexec {final}/lib/{loader.name} --library-path {final}/lib "
            f'--argv0 {name} {final}/libexec/{name} "$@"\n'
        )
        starter.chmod(0o755)
    for schema in usr.glob("share/*/*.ovsschema"):
        shutil.copy2(schema, made / "share" / schema.name)
