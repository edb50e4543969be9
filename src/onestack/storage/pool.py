"""The file pool: one file that holds all volumes, an XFS inside, mounted in the cloud's root.

``ROOT/data/pool/cinder.img`` takes its disk space when it is made, so that a
volume never meets a full disk later. XFS shares blocks between files, which
makes snapshots and clones a matter of milliseconds. Where the machine gives
out no loop device or knows no XFS, but the root's own filesystem shares
blocks, the pool is a plain directory, kept to its size by the volume driver.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.answers.values import show_size
from onestack.cloud import Cloud
from onestack.errors import OnestackError
from onestack.host.change import Change
from onestack.host.command import run
from onestack.host.files import gid_of, remove_tree, uid_of, write_file
from onestack.host.ledger import Ledger, undoes
from onestack.storage import acl, loop, mounts, reflink

MARKER = ".pool"
"""A file in the pool that says its size: without it the pool is not there (not mounted)."""

SMALLEST = 300 << 20
"""XFS is not made smaller than this, bytes."""

LEFT_FREE = 1 << 30
"""What a pool leaves free on the disk that holds it, bytes."""

_MIB = 1 << 20


@dataclass(frozen=True)
class Pool:
    """Where a pool lies below the cloud's root ``root``."""

    root: Path

    @classmethod
    def of(cls, cloud: Cloud) -> Pool:
        return cls(cloud.root)

    @property
    def image(self) -> Path:
        return self.root / "data" / "pool" / "cinder.img"

    @property
    def directory(self) -> Path:
        """Where the volumes' files are seen."""
        return self.root / "data" / "cinder" / "volumes"

    @property
    def marker(self) -> Path:
        return self.directory / MARKER

    @property
    def exists(self) -> bool:
        return self.image.exists() or self.marker.exists()

    def size(self) -> int | None:
        """What the pool offers to volumes, bytes; ``None`` while it is not there."""
        try:
            return int(json.loads(self.marker.read_text())["size"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as problem:
            raise OnestackError(
                f"the pool's own file {self.marker} cannot be read",
                str(problem),
                'write {"size": BYTES} into it, then run the same command again',
            ) from problem


@dataclass(frozen=True)
class PoolFacts:
    """A pool as it is, for people and scripts; sizes in bytes."""

    kind: str
    """``xfs on a loop file``, or ``directory``."""
    size: int
    provisioned: int
    """The sum of the sizes of all volumes and snapshots; no more than ``size`` is given out."""
    used: int
    """What is really stored."""
    volumes: int
    snapshots: int
    directory: str
    file: str
    device: str
    """The loop device; empty for a directory."""

    @property
    def free(self) -> int:
        return max(0, self.size - self.provisioned)


def image_size(size: int) -> int:
    """The bytes of the file that offers ``size`` bytes to volumes.

    As packstack does, 3 % are added for the filesystem's own needs, and
    192 MiB: XFS's log takes 64 MiB and each of its structures a floor.
    """
    whole = size * 103 // 100 + 192 * _MIB
    return -(-whole // _MIB) * _MIB


def _size_offered(pool: Pool, wanted: int) -> int:
    """What the file of a pool that lost its marker offers: ``wanted`` if it was made for that."""
    length = pool.image.stat().st_size
    if image_size(wanted) == length:
        return wanted
    return (length - 192 * _MIB) * 100 // 103 // _MIB * _MIB


def ensure(cloud: Cloud, user: str, size: int, sparse: bool = False) -> Iterator[Change]:
    """The pool, of ``size`` bytes or more, mounted and ``user``'s to work in.

    With ``sparse`` the disk's space is taken only as volumes are written. An
    existing pool grows to ``size`` and never shrinks. Raises `OnestackError`
    when the disk or the machine cannot hold it.
    """
    pool = Pool.of(cloud)
    if not pool.exists and not _loops_possible():
        yield from _ensure_directory_pool(pool, user, size)
    else:
        if not pool.image.exists() and not pool.marker.exists():
            check_room(pool, image_size(size), sparse)
            yield Change(
                f"make the volume pool of {show_size(size)} in {pool.image}",
                lambda: _make_image(cloud, pool, size, sparse),
            )
        if pool.image.exists():
            yield from ensure_attached(pool)
        if not pool.marker.exists() or not _prepared(pool, user):
            yield Change(
                f"give the volume pool to {user}",
                lambda: _prepare(pool, user, pool.size() or _size_offered(pool, size)),
            )
    if (present := pool.size()) is not None and present < size:
        yield Change(
            f"grow the volume pool from {show_size(present)} to {show_size(size)}",
            lambda: grow(cloud, size, sparse),
        )


def ensure_attached(pool: Pool) -> Iterator[Change]:
    """A pool's file on its loop device and mounted, as after each boot."""
    if not loop.device_of(pool.image):
        yield Change(f"attach {pool.image} to a loop device", lambda: _attach(pool))
    if not mounts.source_of(pool.directory):
        yield Change(f"mount the volume pool on {pool.directory}", lambda: _mount(pool))


def attach(pool: Pool) -> list[str]:
    """Do what `ensure_attached` finds missing; says what it did."""
    done = []
    if pool.image.exists():
        for change in ensure_attached(pool):
            change.do()
            done.append(change.what)
    return done


def detach(pool: Pool) -> bool:
    """Unmount the pool and free its loop device. False while something still uses it."""
    if mounts.source_of(pool.directory) and not mounts.unmount(pool.directory):
        return False
    loop.detach(pool.image)
    return True


def grow(cloud: Cloud, size: int, sparse: bool = False) -> None:
    """Enlarge the pool to ``size`` bytes, in use or not; volumes are not disturbed.

    May be repeated after an interruption. Raises `OnestackError` for a size
    below the present one, or when the disk has no room.
    """
    pool = Pool.of(cloud)
    attach(pool)
    present = pool.size()
    if present is None:
        raise OnestackError(
            "there is no volume pool to grow",
            f"{pool.directory} holds none",
            "run onestack up first",
        )
    if size < present:
        raise OnestackError(
            f"the volume pool cannot shrink to {show_size(size)}",
            f"it has {show_size(present)}, and XFS only grows",
            f"name a size above {show_size(present)}",
        )
    if mounts.source_of(pool.directory):
        wanted, length = image_size(size), pool.image.stat().st_size
        if wanted > length:
            check_room(pool, wanted - length, sparse)
            _take_space(pool.image, length, wanted - length, sparse)
        # Also after a run that was killed here: both see by themselves what is to be done.
        loop.resized(loop.attach(pool.image))
        run(["xfs_growfs", "-d", str(pool.directory)], timeout=120)
    elif size > present:
        _check_disk(pool.directory, size - present)
    _write_marker(pool, size)


def facts(cloud: Cloud) -> PoolFacts | None:
    """The pool as it is now; ``None`` when there is none or it is not mounted."""
    pool = Pool.of(cloud)
    size = pool.size()
    if size is None:
        return None
    counts = {"volume": 0, "snapshot": 0}
    provisioned = used = 0
    with os.scandir(pool.directory) as entries:
        for entry in entries:
            kind = entry.name.partition("-")[0]
            if kind in counts:
                info = entry.stat(follow_symlinks=False)
                counts[kind] += 1
                provisioned += info.st_size
                used += info.st_blocks * 512
    mounted = mounts.source_of(pool.directory)
    if mounted:
        # Shared blocks count once for the filesystem, and for each file that has them.
        state = os.statvfs(pool.directory)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
    return PoolFacts(
        kind="xfs on a loop file" if mounted else "directory",
        size=size,
        provisioned=provisioned,
        used=used,
        volumes=counts["volume"],
        snapshots=counts["snapshot"],
        directory=str(pool.directory),
        file=str(pool.image) if mounted else "",
        device=mounted or "",
    )


def check_room(pool: Pool, needed: int, sparse: bool = False) -> None:
    """Raises `OnestackError` when the disk has no ``needed`` bytes for the pool's file."""
    if not sparse:
        _check_disk(pool.image, needed)


def _check_disk(place: Path, needed: int) -> None:
    here = next(parent for parent in (place, *place.parents) if parent.exists())
    state = os.statvfs(here)
    free = state.f_bavail * state.f_frsize
    if free < needed + LEFT_FREE:
        fits = max(0, (free - LEFT_FREE - 192 * _MIB) * 100 // 103 >> 30)
        raise OnestackError(
            f"the disk of {here} is too full for the volume pool",
            f"it needs {_gib(needed)} GiB, {_gib(free)} GiB are free, and "
            f"{_gib(LEFT_FREE)} GiB must stay so",
            f"free some space, or choose a smaller pool: CONFIG_CINDER_VOLUMES_SIZE={fits}G"
            if fits
            else "free some space",
        )


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f}"


def _loops_possible() -> bool:
    if not loop.available() or not shutil.which("mkfs.xfs"):
        return False
    known = Path("/proc/filesystems").read_text().split()
    return "xfs" in known or run(["modprobe", "--dry-run", "xfs"], check=False).ok


def _make_image(cloud: Cloud, pool: Pool, size: int, sparse: bool) -> None:
    """The file with its filesystem, under another name until it is whole."""
    if image_size(size) < SMALLEST:
        raise OnestackError(
            f"a volume pool of {show_size(size)} is too small",
            "XFS wants 300 MiB",
            "choose CONFIG_CINDER_VOLUMES_SIZE=1G or more",
        )
    Ledger.of(cloud).record("volume pool", root=str(pool.root))
    pool.image.parent.mkdir(parents=True, exist_ok=True)
    os.chmod(pool.image.parent, 0o700)
    work = pool.image.with_name(".cinder.img.part")
    work.unlink(missing_ok=True)
    try:
        os.close(os.open(work, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _take_space(work, 0, image_size(size), sparse)
        # -K: discarding would give the space back that was just taken. Without the reverse
        # map: it costs 1.6 % of the pool and only serves repairs.
        run(["mkfs.xfs", "-q", "-K", "-m", "reflink=1,rmapbt=0", str(work)], timeout=120)
        descriptor = os.open(work, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(work, pool.image)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    reflink.sync_directory(pool.image.parent)


def _take_space(file: Path, start: int, length: int, sparse: bool) -> None:
    if not sparse:
        result = run(
            ["fallocate", "--offset", str(start), "--length", str(length), str(file)],
            timeout=600,
            check=False,
        )
        if result.ok:
            return
        if "not supported" not in result.err.lower():
            raise OnestackError(
                f"the disk has no room for {_gib(length)} GiB of volume pool",
                result.err.strip(),
                "free some space, or choose a smaller CONFIG_CINDER_VOLUMES_SIZE",
            )
    # A filesystem that cannot set space aside; that there is enough now was checked.
    os.truncate(file, start + length)


def _attach(pool: Pool) -> None:
    loop.attach(pool.image)


def _mount(pool: Pool) -> None:
    pool.directory.mkdir(parents=True, exist_ok=True)
    device = loop.attach(pool.image)
    # nouuid: a copy of the cloud (snapshot, backup) may be mounted beside it.
    mounts.mount(device, pool.directory, "xfs", "noatime,nodev,nosuid,noexec,nouuid")


def _ensure_directory_pool(pool: Pool, user: str, size: int) -> Iterator[Change]:
    here = next(p for p in (pool.directory, *pool.directory.parents) if p.exists())
    if not reflink.supported(here):
        raise OnestackError(
            "this machine cannot hold a volume pool",
            "it has no loop device with XFS (/dev/loop-control, mkfs.xfs, the kernel's xfs), "
            f"and the filesystem of {here} cannot share blocks between files",
            "load the modules loop and xfs, or put the cloud's root (--root) on XFS or btrfs",
        )
    _check_disk(pool.directory, size)

    def make() -> None:
        pool.directory.mkdir(parents=True, exist_ok=True)
        _prepare(pool, user, size)

    yield Change(f"make the volume pool of {show_size(size)} in {pool.directory}", make)


def _prepared(pool: Pool, user: str) -> bool:
    info = pool.directory.stat()
    uid, gid = uid_of(user), gid_of(user)
    return (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (
        uid,
        gid,
        0o711,
    ) and acl.has_inherited_user(pool.directory, uid)


def _prepare(pool: Pool, user: str, size: int) -> None:
    # Others may pass (QEMU opens its volumes by name) but not look around.
    os.chown(pool.directory, uid_of(user), gid_of(user))
    os.chmod(pool.directory, 0o711)
    acl.set_inherited_user(pool.directory, uid_of(user))
    _write_marker(pool, size)


def _write_marker(pool: Pool, size: int) -> None:
    write_file(pool.marker, json.dumps({"size": size}) + "\n", mode=0o644)


@undoes("volume pool")
def _undo(data: dict[str, Any]) -> None:
    pool = Pool(Path(data["root"]))
    if not detach(pool):
        raise OnestackError(
            f"the volume pool on {pool.directory} is still in use",
            "a process has one of its files open",
            f"find it with: fuser -vm {pool.directory}",
        )
    remove_tree(pool.image.parent)
