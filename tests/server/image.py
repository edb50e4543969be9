"""The disk of an ordinary Debian server, made from Debian packages with this machine's own apt.

What a cloud needs from elsewhere is on it as far as this machine has it:
packages in apt's cache, the release's environments in onestack's. On one kind of
disk the packages are installed, too: without KVM that would take an hour.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from onestack.model.cloud import CACHE
from onestack.release.release import release
from tests.support.clouds import REPOSITORY, run
from tests.support.prepare import wanted

FOLDER = REPOSITORY / "artifacts" / "server"
SIZE = 40 << 30
PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "dbus", "libpam-systemd", "apparmor", "python3"),
    *("systemd-timesyncd", "systemd-resolved", "openssh-server", "ca-certificates"),
)
"""Beside what debootstrap takes for important: what is on most servers."""
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


def image(installed: bool, folder: Path = FOLDER) -> Image:
    """Made if it is not there; remove ``folder`` to have it made anew.

    ``installed``: whether the cloud's packages are, or lie in apt's cache.
    """
    disk = folder / ("installed.raw" if installed else "fetched.raw")
    found = Image(disk, folder / "kernel", folder / "initrd", folder / "key")
    if disk.exists():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    base, work = folder / "base", folder / "work"
    if not base.exists():
        _make_base(base, found)
    shutil.rmtree(work, ignore_errors=True)
    run(["cp", "-a", "--reflink=auto", str(base), str(work)])
    _add_packages(work, installed)
    _fill_cache(work)
    part = disk.with_suffix(".part")
    with part.open("wb") as file:
        file.truncate(SIZE)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "server", "-d", str(work), str(part)])
    shutil.rmtree(work)
    part.rename(disk)
    return found


def _make_base(base: Path, image: Image) -> None:
    tree = base.with_name("base.part")
    shutil.rmtree(tree, ignore_errors=True)
    _bootstrap(tree)
    image.key.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(image.key)])
    _configure(tree, image.key.with_suffix(".pub").read_text())
    for name, place in (("vmlinuz", image.kernel), ("initrd.img", image.initrd)):
        shutil.copyfile(tree / name, place)
    tree.rename(base)


def _bootstrap(tree: Path) -> None:
    if not shutil.which("mmdebstrap"):
        words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "mmdebstrap"]
        run(words, env=dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"})
    places = (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*")))
    sources = [str(p) for p in places if p.suffix in (".list", ".sources") and p.is_file()]
    # what is said there of proxies and of the age of lists
    said = run(["apt-config", "dump", "Acquire"]).stdout.splitlines()
    telling = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    options = [f"--aptopt={line.rstrip(';')}" for line in said if line.startswith(telling)]
    include = f"--include={','.join(PACKAGES)}"
    words = ["mmdebstrap", "--variant=important", include, "--skip=cleanup/apt", *options]
    run([*words, "bookworm", str(tree), *sources], timeout=1800)


def _configure(tree: Path, key: str) -> None:
    (tree / "etc/hostname").write_text("server\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 server\n")
    (tree / "etc/fstab").write_text("LABEL=server / ext4 defaults 0 1\n")
    (tree / "etc/systemd/network/ens3.network").write_text(NETWORK)
    _inside(tree, "systemctl", "enable", "systemd-networkd")
    # QEMU loads it from elsewhere: making it anew would only take its time
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


def _inside(tree: Path, *words: str) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    run(["chroot", str(tree), *words], timeout=1800, env=environment)


def _add_packages(tree: Path, installed: bool) -> None:
    """What an ``up`` asks for where the kernel has Open vSwitch's datapath."""
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        names = wanted(Path(folder), kernel=True)[1]
    resolver, policy = tree / "etc/resolv.conf", tree / "usr/sbin/policy-rc.d"
    target = os.readlink(resolver)
    resolver.unlink()
    shutil.copyfile("/etc/resolv.conf", resolver)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    before = _enabled(tree)
    words = () if installed else ("--download-only",)
    _inside(tree, "apt-get", "-qy", "--no-install-recommends", *words, "install", *names)
    # as onestack leaves them when it is the one that installs
    for link in _enabled(tree) - before:
        link.unlink()
    policy.unlink()
    resolver.unlink()
    resolver.symlink_to(target)


def _enabled(tree: Path) -> set[Path]:
    return {path for path in (tree / "etc/systemd/system").rglob("*") if path.is_symlink()}


def _fill_cache(tree: Path) -> None:
    """What every cloud of this release has in its cache, where this machine has it already."""
    places = (
        release().services.python.parents[2],
        *(CACHE / name for name in ("schemas", "images", "novnc")),
        *CACHE.glob("chrony-debian-*"),
    )
    for place in places:
        if place.exists():
            target = tree / str(place).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "-a", "--reflink=auto", str(place), str(target)])
