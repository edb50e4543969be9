"""The file pool: one file that holds all volumes, an XFS inside, mounted in the cloud's root.

``ROOT/data/pool/cinder.img`` takes disk space as volumes are written, and gives
it back as they are deleted; or it takes all of it when it is made, so that no
volume meets a full disk later. XFS shares blocks between files, which makes
snapshots and clones a matter of milliseconds. Where the machine gives out no
loop device or knows no XFS, but the root's own filesystem shares blocks, the
pool is a plain directory, kept to its size by the volume driver.

The pool is mounted by `onestack.storage.attach`, which the supervisor runs: where
the services and guests see it. For a cloud in a network namespace that is a mount
namespace of its own; who wants to look inside from elsewhere, or to let it grow,
mounts the same device for a moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.answers.values import show_size
from onestack.host.files import gid_of, remove_tree, uid_of, write_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.storage import acl, loop, loopfile, reflink
from onestack.storage.loopfile import LoopFile

MARKER = ".pool"
"""A file in the pool: where it is missing, the pool is not mounted."""

TITLE = "the volume pool"
KIND = "xfs"
SIZE_KEY = "CONFIG_CINDER_VOLUMES_SIZE"

_MIB = 1 << 20


@dataclass(frozen=True)
class Pool:
    """Where a pool lies below the cloud's root ``root``."""

    root: Path

    @classmethod
    def of(cls, cloud: Cloud) -> Pool:
        return cls(cloud.root)

    @property
    def home(self) -> Path:
        return self.root / "data" / "pool"

    @property
    def image(self) -> Path:
        return self.home / "cinder.img"

    @property
    def record(self) -> Path:
        """What the pool is; the volume driver reads its size from here."""
        return self.home / "pool.json"

    @property
    def directory(self) -> Path:
        """Where the volumes' files are seen."""
        return self.root / "data" / "cinder" / "volumes"

    def load(self) -> Record | None:
        """``None`` while there is no pool. Raises `OnestackError` for a damaged record."""
        return loopfile.load_record(
            self.record, Record, TITLE, '{"size": BYTES, "user": "USER", "file": true}'
        )

    def known(self) -> Record:
        """As `load`, and `OnestackError` when there is no pool."""
        if record := self.load():
            return record
        raise OnestackError(
            "the cloud has no volume pool", f"{self.record} is not there", "run onestack up"
        )

    def save(self, record: Record) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        # The volume service passes through, to the record.
        os.chmod(self.home, 0o711)
        loopfile.save_record(self.record, record)

    def file(self, sparse: bool) -> LoopFile:
        return LoopFile(self.image, self.directory, TITLE, sparse)


@dataclass(frozen=True)
class Record:
    """``size`` is what volumes may take together, bytes; ``user`` works in the pool."""

    size: int
    user: str
    file: bool
    """Whether it is a file with a filesystem; else a plain directory."""
    sparse: bool = False
    """Whether the file takes disk space only as it is written to."""


@dataclass(frozen=True)
class PoolFacts:
    """A pool as it is, for people and scripts; sizes in bytes."""

    kind: str
    """``file`` (XFS inside, on a loop device) or ``directory``."""
    size: int
    provisioned: int
    """The sum of the sizes of all volumes and snapshots; no more than ``size`` is given out."""
    stored: int
    """What they really take of the disk; shared blocks count once."""
    volumes: int
    snapshots: int
    place: str
    """The file, or the directory."""
    device: str
    """The loop device, while there is one."""

    @property
    def free(self) -> int:
        return max(0, self.size - self.provisioned)


def image_size(size: int) -> int:
    """The bytes of the file that offers ``size`` bytes to volumes.

    As packstack does, 3 % are added for the filesystem's own needs, and
    192 MiB: XFS's log takes 64 MiB and each of its structures a floor.
    """
    return -(-(size * 103 // 100 + 192 * _MIB) // _MIB) * _MIB


def check(cloud: Cloud, size: int) -> None:
    """Raises `OnestackError` when this machine cannot hold a pool of ``size`` bytes.

    Changes nothing. A pool that is there already is only asked for what it lacks.
    """
    pool = Pool.of(cloud)
    if size < loopfile.SMALLEST:
        raise OnestackError(
            f"a volume pool of {show_size(size)} is too small",
            "XFS wants 300 MiB for itself",
            f"choose {SIZE_KEY}=1G or more",
        )
    record = pool.load()
    if (record is None and loopfile.possible(KIND)) or (record and record.file):
        length = pool.image.stat().st_size if pool.image.exists() else 0
        loopfile.check_disk(pool.home, TITLE, size, image_size(size) - length, SIZE_KEY)
        return
    here = loopfile.nearest(pool.directory)
    if record is None and not reflink.supported(here):
        raise OnestackError(
            "this machine cannot hold a volume pool",
            "it has no loop device with XFS (/dev/loop-control, mkfs.xfs, the kernel's xfs), "
            f"and the filesystem of {here} cannot share blocks between files",
            "load the modules loop and xfs, or put the cloud's root (--root) on XFS or btrfs",
        )
    loopfile.check_disk(here, TITLE, size, size - (record.size if record else 0), SIZE_KEY)


def ensure(cloud: Cloud, user: str, size: int, sparse: bool = False) -> Iterator[Change]:
    """The pool, of ``size`` bytes or more, for ``user`` to work in; not yet mounted.

    With ``sparse`` a new pool takes disk space only as volumes are written;
    without, a sparse one takes all of its space now. An existing pool grows to
    ``size`` and never shrinks. Raises `OnestackError` when the disk or the
    machine cannot hold it.
    """
    pool = Pool.of(cloud)
    record = pool.load()
    if record is None:
        check(cloud, size)
        yield Change(
            f"make the volume pool of {show_size(size)} in {pool.home}",
            lambda: _make(cloud, user, size, sparse),
        )
        return
    file = pool.file(record.sparse)
    if record.file:
        file.check_there(pool.record)
    if record.user != user:
        yield Change(
            f"give the volume pool to {user}",
            lambda: pool.save(dataclasses.replace(pool.known(), user=user)),
        )
    if record.file and record.sparse and not sparse:
        cure = "free some space, or leave CONFIG_CINDER_VOLUMES_SPARSE=y"
        loopfile.check_disk(pool.home, TITLE, record.size, file.missing, SIZE_KEY, cure)
        yield Change("take the volume pool's disk space", lambda: _fill(pool))
    if record.size < size:
        check(cloud, size)
        yield Change(
            f"grow the volume pool from {show_size(record.size)} to {show_size(size)}",
            lambda: grow(cloud, size),
        )


def attach(pool: Pool) -> list[str]:
    """Mount the pool where the volume service looks for it; says what was done.

    Only what is missing is done: after a boot all of it, else nothing.
    """
    record = pool.known()
    file = pool.file(record.sparse)
    done = file.mount(KIND) if record.file else []
    with file.locked():
        if not pool.directory.is_dir():
            pool.directory.mkdir(parents=True)
            done.append(f"made {pool.directory}")
        if _adopt(pool.directory, record.user):
            done.append(f"gave {pool.directory} to {record.user}")
    return done


def detach(pool: Pool) -> bool:
    """Unmount the pool and free its loop device. False while something still uses it."""
    return pool.file(sparse=True).detach()


def grow(cloud: Cloud, size: int) -> None:
    """Enlarge the pool to ``size`` bytes, in use or not; volumes are not disturbed.

    May be repeated after an interruption. The scheduler sees the new size
    with cinder-volume's next report. Raises `OnestackError` for a size below
    the present one, or when the disk has no room.
    """
    pool = Pool.of(cloud)
    record = pool.known()
    if size < record.size:
        raise OnestackError(
            f"the volume pool cannot shrink to {show_size(size)}",
            f"it has {show_size(record.size)}, and XFS only grows",
            f"name a size above {show_size(record.size)}",
        )
    check(cloud, size)
    if record.file:
        pool.file(record.sparse).enlarge(image_size(size), KIND)
    pool.save(dataclasses.replace(pool.known(), size=size))


def remove(cloud: Cloud) -> Iterator[Change]:
    """No pool, and none of its volumes. Raises `OnestackError` while guests use one."""
    pool = Pool.of(cloud)
    if pool.home.exists():
        yield Change(f"remove the volume pool {pool.home}", lambda: _remove(cloud, pool))


def _remove(cloud: Cloud, pool: Pool) -> None:
    free = detach(pool)
    if device := loop.device_of(pool.image) if free else pool.directory:
        raise OnestackError(
            f"the volume pool {pool.image} is still in use ({device})",
            "running instances have volumes of it",
            "delete those instances, or `onestack down`; then run the same command again",
        )
    remove_tree(pool.home)
    Ledger.of(cloud).forget("volume pool", root=str(pool.root))


def facts(cloud: Cloud) -> PoolFacts | None:
    """The pool as it is now; ``None`` when there is none. Needs root."""
    pool = Pool.of(cloud)
    record = pool.load()
    if record is None:
        return None
    counts = {"volume": 0, "snapshot": 0}
    provisioned = stored = 0
    with _opened(pool) as (place, device), os.scandir(place) as entries:
        for entry in entries:
            kind = entry.name.partition("-")[0]
            if kind in counts:
                info = entry.stat(follow_symlinks=False)
                counts[kind] += 1
                provisioned += info.st_size
                stored += info.st_blocks * 512
        if device:
            state = os.statvfs(place)
            stored = min(stored, (state.f_blocks - state.f_bfree) * state.f_frsize)
    return PoolFacts(
        kind="file" if record.file else "directory",
        size=record.size,
        provisioned=provisioned,
        stored=stored,
        volumes=counts["volume"],
        snapshots=counts["snapshot"],
        place=str(pool.image if record.file else pool.directory),
        device=str(device or ""),
    )


def _make(cloud: Cloud, user: str, size: int, sparse: bool) -> None:
    pool = Pool.of(cloud)
    file = loopfile.possible(KIND)
    if file:
        Ledger.of(cloud).record("volume pool", root=str(pool.root))
        pool.home.mkdir(parents=True, exist_ok=True)
        if pool.image.exists():
            # Made by a run that was killed before it could say so. No volume is in it yet,
            # unless the record was removed by hand: then it must not be lost.
            size = min(size, (pool.image.stat().st_size - 192 * _MIB) * 100 // 103)
        else:
            pool.file(sparse).make(image_size(size), KIND)
    pool.save(Record(size, user, file, sparse and file))


def _fill(pool: Pool) -> None:
    pool.file(sparse=False).fill()
    pool.save(dataclasses.replace(pool.known(), sparse=False))


def _adopt(directory: Path, user: str) -> bool:
    """Make what is in the pool ``user``'s; False when it was already."""
    uid, gid = uid_of(user), gid_of(user)
    info = directory.stat()
    marker = directory / MARKER
    if (
        (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (uid, gid, 0o711)
        and acl.inherited(directory, uid)
        and marker.exists()
    ):
        return False
    acl.set_inherited(directory, uid)
    for path in directory.iterdir():
        # A pool from another machine, where the user had another number.
        if path.name != MARKER and path.is_file() and not path.is_symlink():
            os.chown(path, uid, gid)
            acl.set_own(path, uid)
    # Others may pass (QEMU opens its volumes by name) but not look around.
    os.chown(directory, uid, gid)
    os.chmod(directory, 0o711)
    write_file(marker, "", mode=0o644)
    return True


@contextlib.contextmanager
def _opened(pool: Pool) -> Iterator[tuple[Path, Path | None]]:
    """Where the pool's files are seen by this process, and its loop device, for a while."""
    record = pool.known()
    if not record.file:
        yield pool.directory, None
        return
    with pool.file(record.sparse).opened(KIND) as seen:
        yield seen


def _undo(data: dict[str, Any]) -> None:
    pool = Pool(Path(data["root"]))
    if not detach(pool):
        raise OnestackError(
            f"the volume pool on {pool.directory} is still in use",
            "a process has one of its files open",
            f"find it with: fuser -vm {pool.directory}",
        )
    remove_tree(pool.home)


UNDO: Mapping[str, Undo] = {"volume pool": _undo}
