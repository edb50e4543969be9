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

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from onestack.host.files import gid_of, remove_tree, uid_of, write_file
from onestack.host.ledger import Ledger
from onestack.model.change import Undo
from onestack.model.errors import OnestackError
from onestack.storage import acl, loopfile, reflink
from onestack.storage.allotment import allotted
from onestack.storage.filestore import FileStore
from onestack.storage.store import PoolFacts, StoreRecord

MARKER = ".pool"
"""A file in the pool: where it is missing, the pool is not mounted."""

IMPORTS = "import"
"""A folder in it for files that the volume service is to manage, or manages no more."""

KIND = "xfs"

_LEDGER = "volume pool"
_MIB = 1 << 20


class Pool(FileStore):
    IN_USE: ClassVar[tuple[str, str]] = (
        "running instances have volumes of it",
        "delete those instances, or `onestack down`; then run the same command again",
    )

    @classmethod
    def at(cls, root: Path, size_key: str = "", sparse_key: str = "") -> Pool:
        """The pool of the cloud at ``root``. To be made or to grow, it is told its answers."""
        home = root / "data" / "pool"
        return cls(
            image=home / "cinder.img",
            directory=root / "data" / "cinder" / "volumes",
            # The volume driver reads the pool's size from here.
            record=home / "pool.json",
            title="the volume pool",
            size_key=size_key,
            sparse_key=sparse_key,
        )

    @property
    def home(self) -> Path:
        return self.image.parent

    @property
    def root(self) -> Path:
        """The cloud's."""
        return self.home.parents[1]

    def length(self, size: int) -> int:
        return image_size(size)

    def note(self, ledger: Ledger) -> None:
        ledger.record(_LEDGER, root=str(self.root))

    def forget(self, ledger: Ledger) -> None:
        ledger.forget(_LEDGER, root=str(self.root))

    def make_file(self, wanted: StoreRecord) -> StoreRecord:
        if not self.image.exists():
            return super().make_file(wanted)
        # Made by a run that was killed before it could say so. No volume is in it yet,
        # unless the record was removed by hand: then it must not be lost.
        size = min(wanted.size, (self.image.stat().st_size - 192 * _MIB) * 100 // 103)
        return StoreRecord(size, wanted.kind, wanted.user, wanted.sparse)

    def remove_files(self) -> None:
        remove_tree(self.home)

    def save(self, record: StoreRecord) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        # The volume service passes through, to the record.
        os.chmod(self.home, 0o711)
        super().save(record)

    def check_directory(self, wanted: StoreRecord, known: StoreRecord | None) -> None:
        here = loopfile.nearest(self.directory)
        if known is None and not reflink.supported(here):
            raise OnestackError(
                "this machine cannot hold a volume pool",
                "it has no loop device with XFS (/dev/loop-control, mkfs.xfs, the kernel's xfs), "
                f"and the filesystem of {here} cannot share blocks between files",
                "load the modules loop and xfs, or put the cloud's root (--root) on XFS or btrfs",
            )
        needed = wanted.size - (known.size if known else 0)
        loopfile.check_disk(here, self.title, wanted.size, needed, self.size_key)

    def attach(self) -> list[str]:
        """Mount the pool where the volume service looks for it, and give it to its user."""
        known = self.known()
        done = super().attach()
        with self.file(known).locked():
            if not self.directory.is_dir():
                self.directory.mkdir(parents=True)
                done.append(f"made {self.directory}")
            if _adopt(self.directory, known.user, known.server):
                done.append(f"gave {self.directory} to {known.user}")
        return done

    def facts(self) -> PoolFacts | None:
        known = self.load()
        if known is None:
            return None
        counts = {"volume": 0, "snapshot": 0}
        provisioned = stored = 0
        with self.opened(known) as (place, device):
            for path in _files(place):
                if (kind := path.name.partition("-")[0]) in counts:
                    counts[kind] += 1
                    provisioned += allotted(path)
                    stored += path.stat().st_blocks * 512
            for path in _files(place / IMPORTS):
                provisioned += path.stat().st_size
                stored += path.stat().st_blocks * 512
            if device:
                state = os.statvfs(place)
                stored = min(stored, (state.f_blocks - state.f_bfree) * state.f_frsize)
        return PoolFacts(
            **vars(self.facts_of(known, stored, device)),
            provisioned=provisioned,
            volumes=counts["volume"],
            snapshots=counts["snapshot"],
        )


def image_size(size: int) -> int:
    """The bytes of the file that offers ``size`` bytes to volumes.

    As packstack does, 3 % are added for the filesystem's own needs, and
    192 MiB: XFS's log takes 64 MiB and each of its structures a floor.
    """
    return -(-(size * 103 // 100 + 192 * _MIB) // _MIB) * _MIB


def _files(directory: Path) -> list[Path]:
    """What is in it, if it is there; not what it links to."""
    if directory.is_symlink() or not directory.is_dir():
        return []
    return [path for path in directory.iterdir() if path.is_file() and not path.is_symlink()]


def _adopt(directory: Path, user: str, server: str) -> bool:
    """Make what is in the pool ``user``'s, for ``server`` to open; False when it was already."""
    uid, gid = uid_of(user), gid_of(user)
    both = (uid, uid_of(server)) if server else (uid,)
    info = directory.stat()
    marker = directory / MARKER
    if (
        (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (uid, gid, 0o711)
        and acl.inherited(directory, *both)
        and marker.exists()
    ):
        return False
    another = (info.st_uid, info.st_gid) != (uid, gid)
    imports = directory / IMPORTS
    for path in (*directory.iterdir(), *_files(imports)):
        # A pool from another machine, where the user had another number.
        if path.name != MARKER and path.is_file() and not path.is_symlink():
            if another:  # else one that a guest has is its QEMU's
                os.chown(path, uid, gid)
            acl.set_own(path, *both)
    if imports.is_dir() and not imports.is_symlink():
        os.chown(imports, uid, gid)
        acl.set_inherited(imports, *both)
    # Last: until then it is not done.
    acl.set_inherited(directory, *both)
    # Others may pass (QEMU opens its volumes by name) but not look around.
    os.chown(directory, uid, gid)
    os.chmod(directory, 0o711)
    write_file(marker, "", mode=0o644)
    return True


def _undo(data: dict[str, Any]) -> None:
    pool = Pool.at(Path(data["root"]))
    if pool.detach():
        raise OnestackError(
            f"the volume pool on {pool.directory} is still in use",
            "a process has one of its files open",
            f"find it with: fuser -vm {pool.directory}",
        )
    remove_tree(pool.home)


UNDO: Mapping[str, Undo] = {_LEDGER: _undo}
