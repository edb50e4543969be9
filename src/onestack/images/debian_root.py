"""A root file system of Debian 12's packages, on any Debian: unpacked, not installed.

No maintainer script runs, so that nothing is mounted and nothing of this machine is seen.
What those would do, as far as a guest that is never upgraded needs it, is done here: users,
libraries, the status file. Programs of the root run in it by chroot.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import unquote

from onestack.host.archive import apt, isolated_apt, mirrors
from onestack.host.command import CommandResult, run
from onestack.host.locks import Tell, silent
from onestack.images.boot import KERNEL
from onestack.images.kernel import closure, matching

SUITE = "bookworm"
PACKAGES = (
    *("base-files", "base-passwd", "libc-bin", "coreutils", "dash", "grep", "sed", "mawk"),
    *("findutils", "gzip", "hostname", "procps", "mount", "util-linux", "e2fsprogs", "dpkg"),
    *("systemd", "systemd-sysv", "udev", "kmod", "iproute2", "acpid", "python3", "python3-yaml"),
)
"""Of every guest, with what they depend on."""
TOOLS = (KERNEL, "busybox-static", "syslinux", "mtools")
"""Unpacked beside the root, to make the disk."""
NOT_UNPACKED = frozenset(
    {
        *("debconf", "adduser", "init-system-helpers", "readline-common"),
        *("perl-base", "perl", "perl-modules-5.36"),
        *("libpam-runtime", "libpam-modules", "libpam-modules-bin", "libsemanage-common"),
        *("sensible-utils", "ucf", "lsb-base", "usr-is-merged", "usrmerge", "openssl"),
    }
)
"""What packages depend on for their maintainer scripts, and nothing else in a guest."""
LEFT_OUT = (
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"),
    *("usr/share/bug", "usr/share/doc-base", "usr/share/bash-completion", "usr/share/zsh"),
    *("usr/share/pixmaps", "usr/share/applications", "usr/share/polkit-1"),
    *("usr/share/common-licenses", "usr/share/debconf", "usr/share/menu", "usr/share/perl5"),
    *("usr/lib/python3*/test", "usr/lib/python3*/idlelib", "usr/lib/python3*/lib2to3"),
    *("usr/lib/python3*/ensurepip", "usr/lib/python3*/pydoc_data", "usr/lib/python3*/turtledemo"),
    *("usr/lib/udev/hwdb.d", "usr/share/python3/debpython", "etc/init.d", "etc/cron.*"),
)
"""Patterns of what no guest needs."""
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links into ``usr``; Debian's installer makes them, no package."""
LINKS = {"etc/mtab": "../proc/self/mounts", "var/run": "/run", "var/lock": "/run/lock"}
"""Others that no package has, in place of folders that one has."""
MODULES = (
    *("virtio_net", "virtio_rng", "virtio_balloon", "evdev", "button"),
    *("ata_piix", "ata_generic", "sr_mod", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"),
)


# -- from elsewhere ----------------------------------------------------------------


def fetch(
    wanted: Collection[str], folder: Path, pool: Path, work: Path, tell: Tell = silent
) -> None:
    """The ``.deb`` files of `PACKAGES`, ``wanted`` and all they need, and those of `TOOLS`.

    They go to ``folder``/root and ``folder``/tools. ``pool`` keeps what was fetched: what
    breaks off goes on from there. Raises `OnestackError` when apt knows no mirror, or cannot
    fetch.
    """
    suites = {f"{SUITE}{pocket}": uri for pocket, uri in mirrors().items()}
    pool.mkdir(parents=True, exist_ok=True)
    (pool / "partial").mkdir(exist_ok=True)
    options = ["-q", *isolated_apt(work / "apt", suites), "-o", "APT::Architecture=amd64"]
    tell("fetching the lists of Debian 12's packages")
    apt("apt-get", *options, "update", timeout=300)
    resolve = ["-y", "--no-install-recommends", "--print-uris", "install"]
    found = {
        "root": _listed(apt("apt-get", *options, *resolve, *PACKAGES, *wanted, timeout=120)),
        # By themselves: a kernel's dependencies make an initrd that nobody uses here.
        "tools": _listed(
            apt("apt-get", *options, "--print-uris", "download", *_tools(options), timeout=60)
        ),
    }
    names = [unquote(file.split("_")[0]) for files in found.values() for file in files]
    tell(f"fetching {len(names)} packages")
    apt("apt-get", *options, "download", *names, cwd=pool, timeout=1800)
    for name, files in found.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            (folder / name / file).hardlink_to(pool / file)
    # What the mirrors have no more is not kept either.
    apt("apt-get", *options, "-o", f"Dir::Cache::archives={pool}", "autoclean", timeout=60)


def _listed(said: CommandResult) -> list[str]:
    """The files' names in what ``--print-uris`` says: URI, name, size, digest."""
    return [line.split()[1] for line in said.out.splitlines() if line.startswith("'")]


def _tools(options: list[str]) -> Iterable[str]:
    """`TOOLS`, with the kernel's package in place of the one that only depends on it."""
    for name in TOOLS:
        if name == KERNEL:
            shown = apt("apt-cache", *options, "depends", "--important", name, timeout=60).out
            words = [line.split() for line in shown.splitlines()]
            yield next(w[1] for w in words if w[0] == "Depends:" and w[1].startswith("linux-image"))
        else:
            yield name


# -- on this machine ---------------------------------------------------------------


def unpack(debs: Path, root: Path, besides: Collection[str] = ()) -> None:
    """``root`` with the contents of all packages in ``debs`` but `NOT_UNPACKED`.

    ``besides`` are those of these that are unpacked all the same.
    """
    skipped = NOT_UNPACKED.difference(besides)
    root.mkdir()
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    chosen = [deb for deb in sorted(debs.glob("*.deb")) if name_of(deb) not in skipped]
    left_out = [f"--exclude=./{pattern}" for pattern in LEFT_OUT if "*" not in pattern]
    tar = shlex.join(["tar", "-x", "-p", "--keep-directory-symlink", *left_out, "-C", str(root)])
    _each(chosen, f'dpkg-deb --fsys-tarfile "$deb" | {tar}')
    _status(root, chosen)


def name_of(deb: Path) -> str:
    return deb.name.partition("_")[0]


def _each(debs: Iterable[Path], command: str, at_once: int = os.cpu_count() or 1) -> str:
    """What ``command`` says of each, as ``$deb``. Raises `CommandFailed`."""
    script = f"set -eo pipefail; for deb; do {command}; done"
    argv = ["xargs", "-d", "\n", "-n", "8", "-P", str(at_once), "bash", "-c", script]
    return run([*argv, "-"], stdin="".join(f"{deb}\n" for deb in debs), timeout=600).out


def _status(root: Path, debs: Iterable[Path]) -> None:
    """dpkg's status file: agents ask it for versions, and people for what is in the image."""
    # One after the other: two that say something at the same time would say it in pieces.
    fields = _each(debs, 'dpkg-deb -f "$deb"; echo', at_once=1)
    text = fields.replace("\nVersion:", "\nStatus: install ok installed\nVersion:")
    place = root / "var/lib/dpkg"
    (place / "info").mkdir(parents=True, exist_ok=True)
    (place / "updates").mkdir(exist_ok=True)
    (place / "status").write_text(text)


def settle(root: Path) -> None:
    """What maintainer scripts would do: accounts, links, the libraries' index."""
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    locked = (line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines())
    (root / "etc/shadow").write_text("".join(f"{user}:*:20000:0:99999:7:::\n" for user in locked))
    for name in ("gshadow", "subuid", "subgid"):
        (root / "etc" / name).touch()
    for name in ("shadow", "gshadow"):
        (root / "etc" / name).chmod(0o600)
    for name, to in LINKS.items():
        place = root / name
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        place.unlink(missing_ok=True)
        place.symlink_to(to)
    # Agents ask it, and a damaged file would show only in a guest.
    inside(root, ["dpkg-query", "-W"])
    inside(root, ["systemd-sysusers"])
    inside(root, ["ldconfig", "-X"])


def prune(root: Path, patterns: Iterable[str]) -> None:
    """Remove what ``patterns`` name below ``root``."""
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            else:
                shutil.rmtree(path)


def add_modules(root: Path, modules: Path, wanted: Iterable[str]) -> None:
    """Of the kernel with its ``modules``, those that are ``wanted`` (names or patterns)."""
    place = root / "usr/lib/modules" / modules.name
    place.mkdir(parents=True)
    for name, file in closure(modules, matching(modules, wanted)).items():
        shutil.copyfile(file, place / f"{name}.ko")
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(modules / name, place / name)
    (place / "modules.order").touch()
    inside(root, ["depmod", modules.name])


def enable(root: Path, units: Iterable[str]) -> None:
    """Start ``units`` at boot, and no other that only waits to be enabled."""
    preset = root / "usr/lib/systemd/system-preset/00-guest.preset"
    preset.parent.mkdir(parents=True, exist_ok=True)
    preset.write_text("".join(f"enable {unit}\n" for unit in units) + "disable *\n")
    inside(root, ["systemctl", "preset-all"])


def inside(root: Path, argv: Iterable[str | Path], timeout: float = 60.0) -> CommandResult:
    """Run a program of ``root`` in it. Raises `CommandFailed`."""
    environment = {"PATH": "/usr/sbin:/usr/bin", "SYSTEMD_OFFLINE": "1", "HOME": "/root"}
    return run(["chroot", root, *argv], timeout=timeout, env=environment)


def copy_tree(source: Path, root: Path) -> None:
    """Files and links of ``source`` over ``root``, root's own: programs 0755, others 0644."""
    for path in sorted(source.rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        place = root / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() or place.exists():
            place.unlink()
        if path.is_symlink():
            place.symlink_to(path.readlink())
        else:
            shutil.copyfile(path, place)
            program = path.stat().st_mode & 0o111 or path.read_bytes()[:2] == b"#!"
            place.chmod(0o755 if program else 0o644)
