"""The test guest: a small Linux that behaves as a cloud's instance should.

Made from Debian packages only: the cloud kernel, busybox, dropbear, sudo, and
a few tools that tests of a cloud call (curl, lsblk, mkfs, scp, screen). What it does when it
starts is in ``rootfs/`` beside this file. Nothing is mounted or installed
on the way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from onestack.host import debs
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.locks import Tell, silent
from onestack.images import elf
from onestack.images.boot import BOOT_MODULES, KERNEL, boot_config, make_initrd
from onestack.images.builder import check_machine
from onestack.images.content import contents
from onestack.images.disk import EPOCH, write_disk
from onestack.images.kernel import closure
from onestack.kernel import locks
from onestack.model.errors import OnestackError

HERE = Path(__file__).parent
RECIPE = ("guest.py", "boot.py", "cpio.py", "disk.py", "elf.py", "kernel.py", "initrd", "rootfs")
"""Of this folder, what the image depends on."""
PACKAGES = (
    *("busybox-static", "dropbear-bin", "sudo", "util-linux", "e2fsprogs", "screen"),
    *("openssh-sftp-server", "openssh-client"),
    *("syslinux", "mtools"),
    *("libc6", "libcrypt1", "zlib1g", "libtomcrypt1", "libtommath1", "libgmp10"),
    *("libpam0g", "libpam-modules", "libaudit1", "libcap-ng0", "libselinux1", "libpcre2-8-0"),
    *("libext2fs2", "libcom-err2", "libblkid1", "libuuid1"),
    *("libmount1", "libsmartcols1", "libudev1", "libtinfo6", "libutempter0"),
    *("curl", "libcurl4", "libssl3", "libnghttp2-14", "libidn2-0", "libunistring2", "librtmp1"),
    *("libssh2-1", "libpsl5", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0"),
    *("libkeyutils1", "libldap-2.5-0", "libsasl2-2", "libzstd1", "libbrotli1", "libgnutls30"),
    *("libnettle8", "libhogweed6", "libp11-kit0", "libtasn1-6", "libffi8"),
)
"""Debian 12's names."""

PROGRAMS = {
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/bin/dbclient": "usr/bin/dbclient",
    "usr/bin/sudo": "usr/bin/sudo",
    "usr/bin/curl": "usr/bin/curl",
    # Dropbear has none of its own.
    "usr/bin/scp": "usr/bin/scp",
    "usr/bin/screen": "usr/bin/screen",
    "bin/lsblk": "bin/lsblk",
    "sbin/blkid": "usr/lib/guest/blkid",
    "sbin/mke2fs": "sbin/mke2fs",
    "usr/lib/openssh/sftp-server": "usr/lib/sftp-server",
    "usr/libexec/sudo/sudoers.so": "usr/libexec/sudo/sudoers.so",
    "lib/x86_64-linux-gnu/security/pam_permit.so": "lib/x86_64-linux-gnu/security/pam_permit.so",
}
"""Place in the packages to place in the guest; the libraries they need come along."""

LIBRARIES = "lib/x86_64-linux-gnu"
ONE_PLACE = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin"}
"""All programs are in one directory: a command by ssh has only the bin ones on its path."""
LINKS = {
    "sbin/mkfs.ext2": "mke2fs",
    "sbin/mkfs.ext3": "mke2fs",
    "sbin/mkfs.ext4": "mke2fs",
    "usr/bin/ssh": "dbclient",
    "etc/resolv.conf": "../run/resolv.conf",
    "etc/mtab": "../proc/self/mounts",
    "var/run": "../run",
    "lib64/ld-linux-x86-64.so.2": f"../{LIBRARIES}/ld-linux-x86-64.so.2",
    "usr/libexec/sudo/libsudo_util.so.0": f"../../../{LIBRARIES}/libsudo_util.so.0",
}
DIRECTORIES = {
    **dict.fromkeys(
        ("proc", "sys", "dev", "run", "mnt", "var/log", "var/lib/guest", "home/cirros"), 0o755
    ),
    **dict.fromkeys(("tmp", "var/tmp"), 0o1777),
    **dict.fromkeys(("root", "etc/dropbear"), 0o700),
}
MODES = {"etc/shadow": 0o640, "etc/sudoers": 0o440, "usr/bin/sudo": 0o4755, "bin/busybox": 0o4755}
CIRROS = 1000
"""The user's number in ``rootfs/etc/passwd``."""

MODULES = (
    *BOOT_MODULES,
    *("virtio_net", "virtio_rng", "virtio_balloon", "evdev", "button", "8021q"),
    *("ata_piix", "sr_mod", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"),
)


def recipe() -> str:
    """Twelve digits that change with anything of the recipe (not with Debian's updates)."""
    return hashlib.sha256(b"".join(contents(HERE, RECIPE))).hexdigest()[:12]


def fetch_packages(cache: Path, tell: Tell = silent) -> None:
    """What `cached_test_guest` is built from, kept in ``cache`` until it is built."""
    debs.fetch([kernel_package(), *PACKAGES], _packages(cache), tell)


def fetched(cache: Path) -> bool:
    """Whether `cached_test_guest` needs nothing from elsewhere."""
    return place(cache).exists() or _packages(cache).is_dir()


def place(cache: Path) -> Path:
    """Where its image is once it has been built."""
    return cache / f"test-guest-{recipe()}.qcow2"


def _packages(cache: Path) -> Path:
    return cache / f"test-guest-{recipe()}.debs"


def cached_test_guest(cache: Path) -> Path:
    """The guest's image in ``cache``, built if it is not there, once per recipe.

    Raises `OnestackError` when apt, mke2fs or qemu-img is missing or fails.
    """
    image = place(cache)
    if image.exists():
        return image
    other = "give an image for this machine by CONFIG_PROVISION_IMAGE_URL"
    check_machine("the test guest", other)
    cache.mkdir(parents=True, exist_ok=True)
    with locks.held(cache / ".test-guest.lock"):
        # Whoever held the lock may have built it.
        if not image.exists():
            fetch_packages(cache)
            with tempfile.TemporaryDirectory(prefix=".test-guest-", dir=cache) as work:
                _build(image, _packages(cache), Path(work))
            for older in cache.glob("test-guest-*"):
                if older != image:
                    remove_tree(older)
    return image


def _build(image: Path, fetched: Path, work: Path) -> None:
    packages = work / "packages"
    packages.mkdir()
    debs.extract(fetched, packages)
    kernel = next((packages / "boot").glob("vmlinuz-*"))
    modules = packages / "lib/modules" / kernel.name.removeprefix("vmlinuz-")
    root, scratch = work / "root", work / "scratch"
    scratch.mkdir()
    make_root(root, packages, modules)
    boot = {"vmlinuz": kernel.read_bytes(), "initrd": make_initrd(packages, modules)}
    disk = work / "disk.raw"
    write_disk(disk, packages, boot, boot_config(), root, scratch)
    ready = work / "disk.qcow2"
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", disk, ready], timeout=120)
    with ready.open("rb") as file:
        os.fsync(file.fileno())
    ready.chmod(0o644)
    os.rename(ready, image)


class _TestGuest:
    """As `onestack.model.declarations.GuestImage` has it."""

    name = "test-guest"
    title = "the test guest, whose user is cirros"
    min_disk_gib = 1
    min_ram_mib = 160

    @property
    def digest(self) -> str:
        return recipe()

    def image(self, cache: Path) -> Path:
        return place(cache)

    def build(self, cache: Path, tell: Tell = silent) -> Path:
        return cached_test_guest(cache)


TEST_GUEST = _TestGuest()


def kernel_package() -> str:
    """The package the newest cloud kernel is in, from apt's lists."""
    for name in debs.depended(KERNEL):
        if name.startswith("linux-image-"):
            return name
    raise OnestackError(
        f"apt does not know {KERNEL}",
        "its lists are empty, or no Debian archive is configured",
        "run apt-get update; see /etc/apt/sources.list.d",
    )


def make_root(root: Path, packages: Path, modules: Path) -> None:
    """Fill ``root`` with the guest's files, owners and modes included."""
    _own_files(root)
    _programs(root, packages)
    _kernel_modules(root, packages / "bin/busybox", modules)
    for name, mode in MODES.items():
        (root / name).chmod(mode)
    os.chown(root / "home/cirros", CIRROS, CIRROS)
    when = int(EPOCH)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (when, when), follow_symlinks=False)


def _own_files(root: Path) -> None:
    (root / "usr").mkdir(parents=True)
    (root / "bin").mkdir()
    for name, to in ONE_PLACE.items():
        (root / name).symlink_to(to)
    shutil.copytree(HERE / "rootfs", root, dirs_exist_ok=True)
    # Whoever has got this program with another umask (077) has other modes in his folders.
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        elif path.is_file():
            path.chmod(0o755 if path.read_bytes()[:2] == b"#!" else 0o644)
    for name, mode in DIRECTORIES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)


def _programs(root: Path, packages: Path) -> None:
    busybox = packages / "bin/busybox"
    _place(busybox, root / "bin/busybox")
    for name, to in {**LINKS, **_applets(busybox)}.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists() and not place.is_symlink():
            place.symlink_to(to)
    for source, name in PROGRAMS.items():
        place = root / name
        place.unlink(missing_ok=True)  # a busybox link of the same name
        _place(packages / source, place)
    _libraries(root, packages)


def _kernel_modules(root: Path, busybox: Path, modules: Path) -> None:
    for name, file in closure(modules, MODULES).items():
        _place(file, root / "lib/modules" / modules.name / f"{name}.ko")
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        _place(modules / name, root / "lib/modules" / modules.name / name)
    run([busybox, "depmod", "-b", root, modules.name])


def _applets(busybox: Path) -> dict[str, str]:
    """Busybox's own list of the links it wants."""
    names = run([busybox, "--list-full"]).out.split()
    return {name: "/bin/busybox" for name in names if name != "bin/busybox"}


def _place(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    place.chmod(source.stat().st_mode & 0o755)


def _libraries(root: Path, packages: Path) -> None:
    """The shared libraries that the guest's programs, and those themselves, need."""
    available = {path.name: path for path in packages.rglob("*.so*") if path.is_file()}
    waiting = [root / name for name in PROGRAMS.values()]
    while waiting:
        user = waiting.pop()
        for soname in elf.needed(user):
            place = root / LIBRARIES / soname
            if place.exists():
                continue
            if soname not in available:
                raise OnestackError(
                    f"the test guest's {user.relative_to(root)} needs {soname}",
                    "none of the packages it is built from has it",
                    "report it: Debian's packages have changed",
                )
            _place(available[soname], place)
            waiting.append(place)
