"""The disk of an ordinary Debian server, made from Debian packages with this machine's own apt.

What a cloud needs is on it as far as this machine has it, fetched and not
installed: without KVM everything takes ten times as long, and what is fetched
is no other on a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onestack.cloud import CACHE
from onestack.host import facts, packages
from onestack.host.ledger import Ledger
from onestack.release.release import release
from tests.support.clouds import REPOSITORY, run
from tests.support.prepare import wanted

FOLDER = REPOSITORY / "artifacts" / "server"
SIZE = 40 << 30
PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "dbus", "libpam-systemd", "apparmor", "python3"),
    *("systemd-timesyncd", "systemd-resolved", "openssh-server", "ca-certificates"),
)
"""Beside what debootstrap takes for important: what Debian's installer puts on a server."""
NICE = ("nice", "-n", "19")
NETWORK = """[Match]
Name=ens3

[Network]
DHCP=ipv4
"""
"""Of two NICs, the one that leads to the outside; the other is for the cloud to take."""
TRUST = (Path("/usr/local/share/ca-certificates"), Path("/etc/pip.conf"))
"""How this machine reaches package indexes; copied as it stands."""


@dataclass(frozen=True)
class Image:
    """The kernel and its first file system are QEMU's to load: the disk has no boot loader."""

    disk: Path
    kernel: Path
    initrd: Path
    key: Path
    """Opens root's ssh."""


def image(folder: Path = FOLDER) -> Image:
    """Made if it is not there; remove ``folder`` to have it made anew."""
    found = Image(folder / "disk.raw", folder / "kernel", folder / "initrd", folder / "key")
    if not found.disk.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(found, folder / "tree")
    return found


def _make(image: Image, tree: Path) -> None:
    _bootstrap(tree)
    image.key.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(image.key)])
    _configure(tree, image.key.with_suffix(".pub").read_text())
    _fetch(tree)
    _fill_cache(tree)
    for name, place in (("vmlinuz", image.kernel), ("initrd.img", image.initrd)):
        shutil.copyfile(tree / name, place)
    work = image.disk.with_suffix(".part")
    with work.open("wb") as file:
        file.truncate(SIZE)
    run([*NICE, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "server", "-d", str(tree), str(work)])
    work.rename(image.disk)
    shutil.rmtree(tree)


def _bootstrap(tree: Path) -> None:
    if not shutil.which("mmdebstrap"):
        words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "mmdebstrap"]
        run(words, env=dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"})
    shutil.rmtree(tree, ignore_errors=True)
    sources = [
        str(path)
        for path in (
            Path("/etc/apt/sources.list"),
            *sorted(Path("/etc/apt/sources.list.d").glob("*")),
        )
        if path.suffix in (".list", ".sources") and path.is_file()
    ]
    # what is said there of proxies and of the age of lists
    said = run(["apt-config", "dump", "Acquire"]).stdout.splitlines()
    telling = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    options = [f"--aptopt={line.rstrip(';')}" for line in said if line.startswith(telling)]
    include = f"--include={','.join(PACKAGES)}"
    words = ["mmdebstrap", "--variant=important", include, "--skip=cleanup/apt", *options]
    run([*NICE, *words, "bookworm", str(tree), *sources], timeout=1800)


def _configure(tree: Path, key: str) -> None:
    (tree / "etc/hostname").write_text("server\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 server\n")
    (tree / "etc/fstab").write_text("LABEL=server / ext4 defaults 0 1\n")
    (tree / "etc/systemd/network/ens3.network").write_text(NETWORK)
    _inside(tree, "systemctl", "enable", "systemd-networkd")
    # QEMU loads it from here: making it anew would only take its time
    (tree / "etc/initramfs-tools/update-initramfs.conf").write_text("update_initramfs=no\n")
    keys = tree / "root/.ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    keys.write_text(key)
    for path in TRUST:
        place = tree / str(path).lstrip("/")
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        elif path.exists():
            shutil.copyfile(path, place)
    _inside(tree, "update-ca-certificates")


def _inside(tree: Path, *words: str) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    done = run([*NICE, "chroot", str(tree), *words], timeout=1800, env=environment)
    return done.stdout


def _fetch(tree: Path) -> None:
    """The cloud's packages into apt's cache, for a kernel that has Open vSwitch's datapath."""
    resolver = tree / "etc/resolv.conf"
    kept = os.readlink(resolver) if resolver.is_symlink() else None
    resolver.unlink(missing_ok=True)
    shutil.copyfile("/etc/resolv.conf", resolver)
    names = server_packages()
    _inside(tree, "apt-get", "-q", "-y", "--no-install-recommends", "-d", "install", *names)
    if kept:
        resolver.unlink()
        resolver.symlink_to(kept)


def server_packages() -> list[str]:
    """As an ``up`` on that server will ask for them."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        names = wanted(Path(folder), kernel=True)[1]
    return names


def _fill_cache(tree: Path) -> None:
    """What every cloud of this release has in its cache, where this machine has it already."""
    made = release()
    places: Iterable[Path] = (
        made.services_python.parents[2],
        CACHE / "schemas",
        CACHE / "images",
        *CACHE.glob("novnc"),
        *CACHE.glob("chrony-debian-*"),
    )
    for place in places:
        if place.exists():
            target = tree / str(place).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            run([*NICE, "cp", "-a", "--reflink=auto", str(place), str(target)])
