"""A volume driver for a pool of files on a filesystem that shares blocks (XFS, btrfs).

Runs in the services' environment. Each volume is a raw, sparse file named as
the volume; snapshots and clones share its blocks and take milliseconds. The
pool gives out no more than its size, counted by what volumes and snapshots
may grow to, so no write of a guest ever meets a full pool.

Instances get the file's path (connection type ``gpfs``: to nova and os-brick
a plain file on this host, nothing to mount or to log in to). Files made here
carry an access list inherited from the pool's directory, so this service
keeps its hand on them whomever libvirt gives them to.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cinder import exception, interface
from cinder.image import image_utils
from cinder.volume import configuration, driver, volume_utils
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import units

from onestack.kernel.files import sync_directory
from onestack.storage import reflink

LOG = logging.getLogger(__name__)

MARKER = ".pool"
"""Made by `onestack.storage.pool`; absent when the pool is not mounted."""

OPTIONS = [
    cfg.StrOpt(
        "filepool_directory",
        help="Directory of the file pool, made and mounted by onestack.",
    ),
    cfg.StrOpt(
        "filepool_record",
        help="JSON file that says the size of the file pool; it may change at any time.",
    ),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def list_opts() -> list[tuple[str, list[Any]]]:
    """All options of the backend's section, for oslo.config's tools."""
    from cinder import objects

    objects.register_all()  # without it the next line fails
    from cinder.volume import manager

    return [("filepool", [*OPTIONS, *manager.volume_backend_opts, *driver.volume_opts])]


@interface.volumedriver
class FilePoolDriver(driver.VolumeDriver):  # type: ignore[misc]
    """Raw files in a local pool, with instant snapshots and clones."""

    VERSION = "1.0.0"
    CI_WIKI_NAME = "onestack"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        self._directory = Path(self.configuration.filepool_directory or "/nonexistent")
        self._record = Path(self.configuration.filepool_record or "/nonexistent")
        # Between counting what is given out and giving out more.
        self._counting = threading.Lock()

    @staticmethod
    def get_driver_options() -> list[Any]:
        return OPTIONS

    # The pool

    def do_setup(self, context: Any) -> None:
        """Remove what an interrupted copy has left."""
        for left in self._directory.glob(".*.part"):
            left.unlink(missing_ok=True)

    def check_for_setup_error(self) -> None:
        for option in OPTIONS:
            if not self.configuration.safe_get(option.name):
                raise exception.InvalidConfigurationValue(option=option.name, value="")
        self._size()
        try:
            able = reflink.supported(self._directory)
        except OSError as problem:
            raise _failure(f"{self._directory} cannot be written: {problem.strerror}") from problem
        if not able:
            raise _failure(
                f"the filesystem of {self._directory} cannot share blocks between files; "
                "put the pool on XFS (reflink=1) or btrfs"
            )

    def _update_volume_stats(self) -> None:
        size, provisioned = self._size(), self._provisioned()
        state = os.statvfs(self._directory)
        free = min(size - provisioned, state.f_bavail * state.f_frsize)
        name = self.configuration.safe_get("volume_backend_name") or "filepool"
        self._stats = {
            "volume_backend_name": name,
            "vendor_name": "onestack",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "sparse_copy_volume": True,
            # Else nova locks every attachment against all others of this backend.
            "shared_targets": False,
            "pools": [
                {
                    "pool_name": name,
                    "total_capacity_gb": _gib(size),
                    "free_capacity_gb": max(0.0, _gib(free)),
                    "provisioned_capacity_gb": _gib(provisioned),
                    "reserved_percentage": 0,
                    "max_over_subscription_ratio": "1.0",
                    # What a volume may grow to is taken at once, as on thick LVM.
                    "thick_provisioning_support": True,
                    "thin_provisioning_support": False,
                    "multiattach": True,
                    "online_extend_support": True,
                    "QoS_support": False,
                    "filter_function": self.get_filter_function(),
                    "goodness_function": self.get_goodness_function(),
                }
            ],
        }

    def _size(self) -> int:
        """The pool's size, bytes. It is read each time: the pool may have grown."""
        if not (self._directory / MARKER).exists():
            raise _failure(
                f"the pool is not mounted on {self._directory}; "
                "restart the volume service (onestack restart cinder), which mounts it"
            )
        try:
            return int(json.loads(self._record.read_text())["size"])
        except (OSError, ValueError, KeyError) as problem:
            raise _failure(f"the pool's record cannot be read: {problem}") from problem

    def _provisioned(self) -> int:
        """What volumes and snapshots may grow to, bytes."""
        with os.scandir(self._directory) as entries:
            return sum(
                entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            )

    @contextlib.contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        """The right to take ``size`` bytes of the pool. Copies made within are instant."""
        with self._counting:
            free = self._size() - self._provisioned()
            if size > free:
                raise _failure(
                    f"the pool has {_gib(free):.1f} GiB free and {_gib(size):.1f} GiB are wanted; "
                    "delete volumes or snapshots, or let it grow (onestack pool grow)"
                )
            yield

    def _path(self, thing: Any) -> Path:
        """The file of a volume or snapshot."""
        return self._directory / str(thing.name)

    def local_path(self, volume: Any) -> str:
        return str(self._path(volume))

    # Volumes

    def create_volume(self, volume: Any) -> None:
        if volume.encryption_key_id:
            raise _failure("volumes of an encrypted type cannot be made in a file pool")
        size = volume.size * units.Gi
        path = self._path(volume)
        path.unlink(missing_ok=True)  # left by an attempt that was cut short
        with self._room_for(size):
            _make_file(path, size)
        sync_directory(self._directory)

    def delete_volume(self, volume: Any) -> None:
        self._remove(self._path(volume))

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Also while guests have it. What is added reads as zeros.

        A file that has the size already, of an attempt that was cut short, is never made
        smaller here: a guest may have seen it.
        """
        path = self._path(volume)
        size = new_size * units.Gi
        with self._room_for(size - path.stat().st_size):
            _grow_file(path, size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        self._copy(self._path(src_vref), self._path(volume), volume.size * units.Gi)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        self._copy(self._path(snapshot), self._path(volume), volume.size * units.Gi)

    def retype(
        self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any
    ) -> tuple[bool, None]:
        """No type changes anything about a file; a new encryption cannot be had."""
        return not diff.get("encryption"), None

    # Snapshots

    def create_snapshot(self, snapshot: Any) -> None:
        source = self._path(snapshot.volume)
        self._copy(source, self._path(snapshot), source.stat().st_size)

    def delete_snapshot(self, snapshot: Any) -> None:
        self._remove(self._path(snapshot))

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any) -> None:
        reflink.clone(self._path(snapshot), self._path(volume), volume.size * units.Gi)

    def snapshot_revert_use_temp_snapshot(self) -> bool:
        """The file is replaced in one step: there is nothing to fall back from."""
        return False

    # Images

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        path = self._path(volume)
        # Beside the volume's file, which keeps the volume's share of the pool meanwhile.
        work = self._directory / f".image-{path.name}.part"
        work.unlink(missing_ok=True)
        _make_file(work, 0)
        try:
            image_utils.fetch_to_raw(
                context,
                image_service,
                image_id,
                str(work),
                self.configuration.volume_dd_blocksize,
                size=volume.size,
                run_as_root=False,
                disable_sparse=disable_sparse,
            )
            os.truncate(work, volume.size * units.Gi)
            os.replace(work, path)
        finally:
            work.unlink(missing_ok=True)
        sync_directory(self._directory)

    def copy_volume_to_image(
        self, context: Any, volume: Any, image_service: Any, image_meta: Any
    ) -> None:
        """Upload a moment's copy, which is consistent even while an instance writes."""
        copy = self._directory / f".upload-{image_meta['id']}.part"
        reflink.clone(self._path(volume), copy)
        try:
            volume_utils.upload_volume(
                context, image_service, image_meta, str(copy), volume, run_as_root=False
            )
        finally:
            copy.unlink(missing_ok=True)

    # Connections

    def initialize_connection(self, volume: Any, connector: Any, **kwargs: Any) -> dict[str, Any]:
        return self._connection(self._path(volume))

    def initialize_connection_snapshot(
        self, snapshot: Any, connector: Any, **kwargs: Any
    ) -> dict[str, Any]:
        return self._connection(self._path(snapshot))

    @staticmethod
    def _connection(path: Path) -> dict[str, Any]:
        return {
            "driver_volume_type": "gpfs",
            "data": {
                "name": path.name,
                "device_path": str(path),
                # What a guest trims goes back to the pool's filesystem.
                "discard": True,
            },
        }

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> None:
        """Nothing was made for a connection.

        But the backup service, which restores into what it takes for a disk, has cut the
        file off where the backup's zeros begin that end it.
        """
        with contextlib.suppress(FileNotFoundError):
            _grow_file(self._path(volume), volume.size * units.Gi)

    def secure_file_operations_enabled(self) -> bool:
        """Volumes are read and written as cinder's own user, whoever has them meanwhile."""
        return True

    def terminate_connection_snapshot(self, snapshot: Any, connector: Any, **kwargs: Any) -> None:
        """Nothing was made for a connection."""

    def ensure_export(self, context: Any, volume: Any) -> None:
        """A file needs no export."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """A file needs no export."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """A file needs no export."""

    def create_export_snapshot(self, context: Any, snapshot: Any, connector: Any) -> None:
        """A file needs no export."""

    def remove_export_snapshot(self, context: Any, snapshot: Any) -> None:
        """A file needs no export."""

    # Files

    def _copy(self, source: Path, target: Path, size: int) -> None:
        with self._room_for(size):
            reflink.clone(source, target, size)

    def _remove(self, path: Path) -> None:
        """What is gone already is deleted: an interrupted deletion is asked for again."""
        try:
            path.unlink()
        except FileNotFoundError:
            LOG.warning("%s was not there to be deleted", path)
            return
        sync_directory(self._directory)


def _make_file(path: Path, size: int) -> None:
    """A sparse file of ``size`` bytes, with the mode that lets the access list count."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _grow_file(path: Path, size: int) -> None:
    """Of ``size`` bytes at least, on the disk when it returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(text: str) -> Exception:
    problem: Exception = exception.VolumeBackendAPIException(data=text)
    return problem


def _gib(count: int) -> float:
    return round(count / float(units.Gi), 2)
