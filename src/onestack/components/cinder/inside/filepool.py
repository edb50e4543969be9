"""A volume driver for a pool of files on a filesystem that shares blocks (XFS, btrfs).

Runs in the services' environment. Each volume is a raw, sparse file named as
the volume; snapshots and clones share its blocks and take milliseconds. The
pool gives out no more than its size, counted by what volumes and snapshots
may grow to, so no write of a guest ever meets a full pool.

Servers on this host get the file's path (connection type ``gpfs``: to nova and os-brick
a plain file on this host, nothing to mount or to log in to). Files made here
carry an access list inherited from the pool's directory, so this service
keeps its hand on them whomever libvirt gives them to. To those on other hosts
it is served (`served`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

from cinder import context, exception, interface, objects
from cinder.image import image_utils
from cinder.message.message_field import Action, Resource
from cinder.volume import configuration, driver, volume_utils
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import units

from onestack.components.cinder.inside import imports, interrupted, luks
from onestack.components.cinder.inside.messages import tell, told
from onestack.components.cinder.inside.pool_files import (
    PoolFiles,
    beside,
    cut_file,
    gib,
    grow_file,
)
from onestack.components.cinder.inside.refusals import (
    MIGRATE,
    NO_FILE,
    NOT_BACKED_UP,
    OTHER_ENCRYPTION,
    STAYS,
    Refused,
    failure,
)
from onestack.components.cinder.inside.served import Served
from onestack.kernel.files import sync_directory
from onestack.storage import reflink
from onestack.storage.allotment import allotted, note

LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.StrOpt(
        "filepool_directory",
        help="Directory of the file pool, made and mounted by onestack.",
    ),
    cfg.StrOpt(
        "filepool_record",
        help="JSON file that says the size of the file pool; it may change at any time.",
    ),
    cfg.StrOpt(
        "filepool_hosts",
        help="JSON file of the other hosts whose servers may have volumes, and of who serves them.",
    ),
    cfg.StrOpt(
        "filepool_exports",
        help="Directory of what these hosts may open.",
    ),
]
_ALWAYS = OPTIONS[:2]
"""The others are of a cloud that machines may join."""
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def list_opts() -> list[tuple[str, list[Any]]]:
    """All options of the backend's section, for oslo.config's tools."""
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
        self._files = PoolFiles(
            Path(self.configuration.filepool_directory or "/nonexistent"),
            Path(self.configuration.filepool_record or "/nonexistent"),
        )
        self._imports = imports.Imports(self._files)
        hosts, exports = self.configuration.filepool_hosts, self.configuration.filepool_exports
        self._served = Served(Path(hosts), Path(exports)) if hosts and exports else None

    @staticmethod
    def get_driver_options() -> list[Any]:
        return OPTIONS

    # The pool

    def do_setup(self, context: Any) -> None:
        """Remove what an interrupted copy has left."""
        self._files.sweep()

    def check_for_setup_error(self) -> None:
        for option in _ALWAYS:
            if not self.configuration.safe_get(option.name):
                raise exception.InvalidConfigurationValue(option=option.name, value="")
        self._files.size()
        directory = self._files.directory
        try:
            self._imports.make()
            able = reflink.supported(directory)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise failure(f"{directory} cannot be written: {problem.strerror}") from problem
            # Without this service nobody could delete anything of it.
            LOG.error("%s is full: nothing can be written there", directory)
            able = True
        if not able:
            raise failure(
                f"the filesystem of {directory} cannot share blocks between files; "
                "put the pool on XFS (reflink=1) or btrfs"
            )

    def update_provider_info(self, volumes: Any, snapshots: Any) -> tuple[None, None]:
        """Cinder asks once, at its start, with all that is here: nothing of it is worked on."""
        interrupted.settle(self, volumes, snapshots)
        if self._served:
            self._served.settle({v.id: set(_hosts(v)) for v in volumes})
        return None, None

    def _update_volume_stats(self) -> None:
        size, provisioned = self._files.size(), self._files.provisioned()
        state = os.statvfs(self._files.directory)
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
                    "total_capacity_gb": gib(size),
                    "free_capacity_gb": max(0.0, gib(free)),
                    "provisioned_capacity_gb": gib(provisioned),
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
        if self._served:
            self._served.look_after(_attached)

    def path(self, thing: Any) -> Path:
        """The file of a volume or snapshot."""
        return self._files.directory / str(thing.name)

    def local_path(self, volume: Any) -> str:
        return str(self.path(volume))

    # Volumes

    @told(Action.CREATE_VOLUME_FROM_BACKEND)
    def create_volume(self, volume: Any) -> None:
        if not volume.encryption_key_id:
            self._files.make(self.path(volume), _bytes(volume))
            return
        if _copied_from_elsewhere(volume):
            raise Refused(STAYS)
        self.path(volume).unlink(missing_ok=True)  # left by an attempt that was cut short
        with self._files.part(volume.name) as part:
            luks.header(volume, volume.obj_context, part)
            self._files.put_new(part, self.path(volume), _bytes(volume))

    def delete_volume(self, volume: Any) -> None:
        if heir := interrupted.heir(volume):
            LOG.warning("%s is kept: it is the file of volume %s now", self.path(volume), heir)
            return
        self._take_back(volume)
        self._remove(self.path(volume))

    def _take_back(self, volume: Any) -> None:
        """Before its file is no more, or another one: who serves it has the one that it opened."""
        if self._served:
            self._served.end(volume.id)

    @told(Action.EXTEND_VOLUME)
    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Also while guests have it. What is added reads as zeros.

        A file that has the size already, of an attempt that was cut short, is never made
        smaller here: a guest may have seen it.
        """
        self._files.grow(self.path(volume), new_size * units.Gi)
        if self._served:
            self._served.grown(volume.id)

    def settle_size(self, volume: Any) -> bool:
        """Without what an interrupted `extend_volume` has added, unless it was written to.

        Only while cinder has begun nothing else with it.
        """
        try:
            return cut_file(self.path(volume), _bytes(volume))
        except FileNotFoundError:
            return True

    @told(Action.CREATE_VOLUME_FROM_BACKEND)
    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        _check_encryption(volume, src_vref)
        self._files.copy(self.path(src_vref), self.path(volume), _bytes(volume))

    @told(Action.CREATE_VOLUME_FROM_BACKEND)
    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        _check_encryption(volume, snapshot)
        self._files.copy(self.path(snapshot), self.path(volume), _bytes(volume))

    # Types and places

    def retype(
        self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any
    ) -> tuple[bool, None]:
        """No type changes anything about a file; a new encryption cannot be had."""
        return not diff.get("encryption"), None

    def before_volume_copy(
        self, context: Any, src_vol: Any, dest_vol: Any, remote: str | None = None
    ) -> None:
        """Another back-end keeps encrypted volumes in another form, if it has any."""
        if src_vol.encryption_key_id:
            problem = Refused(STAYS)
            tell(src_vol, MIGRATE, problem)
            raise problem

    def update_migrated_volume(
        self, ctxt: Any, volume: Any, new_volume: Any, original_volume_status: str
    ) -> dict[str, Any]:
        """The file of what was copied here gets the name of the volume that it is of now.

        So that no two volumes of cinder's mean one file, and deleting what an interrupted
        migration has left deletes nothing of the volume's. One that a guest has keeps the name
        by which it was opened; `delete_volume` then knows whose it is.
        """
        if original_volume_status != "available":
            return {"_name_id": new_volume.name_id, "provider_location": None}
        if volume_utils.extract_host(volume.host) == self.host:
            raise failure(f"{volume.id} is in this pool already; its copy keeps its own name")
        copy = self.path(new_volume)
        original = self._files.directory / str(cfg.CONF.volume_name_template % volume.id)
        if copy.exists():
            os.replace(copy, original)
            sync_directory(self._files.directory)
        elif not original.exists():
            raise failure(f"{copy}, the volume's copy, is not there")
        return {"_name_id": None, "provider_location": None}

    # Snapshots

    @told(Action.SNAPSHOT_CREATE, Resource.VOLUME_SNAPSHOT)
    def create_snapshot(self, snapshot: Any) -> None:
        source = self.path(snapshot.volume)
        self._files.copy(source, self.path(snapshot), allotted(source))

    def delete_snapshot(self, snapshot: Any) -> None:
        self._remove(self.path(snapshot))

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any) -> None:
        """In one step: the volume's file is another one, with the owner and access of a new one.

        Whoever had the old one open would go on with it, so cinder lets nobody have it.
        """
        self._take_back(volume)
        reflink.clone(self.path(snapshot), self.path(volume), _bytes(volume))

    def snapshot_revert_use_temp_snapshot(self) -> bool:
        """The file is replaced in one step: there is nothing to fall back from."""
        return False

    # Files that are no volumes yet, or no more

    def manage_existing_get_size(self, volume: Any, existing_ref: Any) -> int:
        return self._size_of(existing_ref, volume, Action.CREATE_VOLUME_FROM_BACKEND)

    @told(Action.CREATE_VOLUME_FROM_BACKEND)
    def manage_existing(self, volume: Any, existing_ref: Any) -> None:
        self._imports.take(existing_ref, self.path(volume))

    def get_manageable_volumes(
        self,
        cinder_volumes: Any,
        marker: Any,
        limit: Any,
        offset: Any,
        sort_keys: Any,
        sort_dirs: Any,
    ) -> Any:
        return volume_utils.paginate_entries_list(
            self._imports.listed(), marker, limit, offset, sort_keys, sort_dirs
        )

    def unmanage(self, volume: Any) -> None:
        self._take_back(volume)
        self._imports.give(self.path(volume))

    def manage_existing_snapshot_get_size(self, snapshot: Any, existing_ref: Any) -> int:
        kind = Resource.VOLUME_SNAPSHOT
        return self._size_of(existing_ref, snapshot, Action.SNAPSHOT_CREATE, kind)

    def _size_of(
        self, reference: Any, thing: Any, action: tuple[str, str], kind: str = Resource.VOLUME
    ) -> int:
        """GiB. Cinder would end in error, and tell nobody why."""
        try:
            return self._imports.size(reference)
        except exception.ManageExistingInvalidReference:
            tell(thing, action, Refused(NO_FILE), kind)
            raise

    @told(Action.SNAPSHOT_CREATE, Resource.VOLUME_SNAPSHOT)
    def manage_existing_snapshot(self, snapshot: Any, existing_ref: Any) -> None:
        self._imports.take(existing_ref, self.path(snapshot))

    def get_manageable_snapshots(
        self,
        cinder_snapshots: Any,
        marker: Any,
        limit: Any,
        offset: Any,
        sort_keys: Any,
        sort_dirs: Any,
    ) -> Any:
        """Nobody knows of a file in the folder what it was a snapshot of."""
        return []

    def unmanage_snapshot(self, snapshot: Any) -> None:
        self._imports.give(self.path(snapshot))

    # Backups

    def backup_use_temp_snapshot(self) -> bool:
        """Of a volume in use a snapshot is read, and a snapshot by itself: no copy is made."""
        return True

    def get_backup_device(self, context: Any, backup: Any) -> Any:
        """Cinder tells nobody where this fails: backup and volume would be at it for ever."""
        try:
            return super().get_backup_device(context, backup)
        except Exception as problem:
            interrupted.give_up_backup(backup, problem)
            why = problem if isinstance(problem, Refused) else Refused(NOT_BACKED_UP)
            tell(backup, Action.BACKUP_CREATE, why, Resource.VOLUME_BACKUP)
            raise

    # Images

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        self._fill(volume, context, image_service, image_id, disable_sparse)

    @told(Action.COPY_IMAGE_TO_VOLUME)
    def _fill(self, volume: Any, *image: Any) -> None:
        path = self.path(volume)
        # Beside the volume's file, which keeps the volume's share of the pool meanwhile.
        with self._files.part(f"image-{volume.name}", beside(path)) as part:
            self._fetch(part, volume, *image)
            self._take_back(volume)
            self._files.put(part, path, _bytes(volume))

    def copy_image_to_encrypted_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Of an image that is not encrypted, with the volume's key."""
        self._encrypt(volume, context, image_service, image_id, disable_sparse)

    @told(Action.COPY_IMAGE_TO_VOLUME)
    def _encrypt(self, volume: Any, context: Any, *image: Any) -> None:
        path = self.path(volume)
        with (
            # Where images are unpacked; cinder removes what is left there of this back-end's.
            image_utils.temporary_file(suffix=f"-{self.host}") as plain,
            self._files.part(f"luks-{volume.name}", beside(path)) as part,
        ):
            self._fetch(plain, volume, context, *image)
            # It took a while to make.
            luks.copy_header(path, part)
            os.truncate(part, _bytes(volume))
            luks.fill(volume, context, Path(plain), part)
            self._take_back(volume)
            self._files.put(part, path, _bytes(volume))

    def _fetch(
        self,
        target: Path | str,
        volume: Any,
        context: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool,
    ) -> None:
        image_utils.fetch_to_raw(
            context,
            image_service,
            image_id,
            str(target),
            self.configuration.volume_dd_blocksize,
            size=volume.size,
            run_as_root=False,
            disable_sparse=disable_sparse,
        )

    def copy_volume_to_image(
        self, context: Any, volume: Any, image_service: Any, image_meta: Any
    ) -> None:
        """Upload a moment's copy, which is consistent even while an instance writes."""
        self._upload(volume, context, image_service, image_meta)

    @told(Action.COPY_VOLUME_TO_IMAGE)
    def _upload(self, volume: Any, context: Any, image_service: Any, image_meta: Any) -> None:
        # What servers write meanwhile is no more the copy's.
        share = _bytes(volume) if volume.volume_attachment else 0
        with self._files.part(f"upload-{image_meta['id']}", share) as copy:
            reflink.clone(self.path(volume), copy)
            volume_utils.upload_volume(
                context, image_service, image_meta, str(copy), volume, run_as_root=False
            )

    # Connections

    @told(Action.UPDATE_ATTACHMENT)
    def initialize_connection(self, volume: Any, connector: Any, **kwargs: Any) -> dict[str, Any]:
        """Of this host's the file; of another's what it is served.

        Whoever gets the file may begin by cutting it off, as backups and migrations do.

        And may have been killed then: the next one gets all of it.
        """
        note(self.path(volume), _bytes(volume))
        self.make_whole(volume)
        host = connector.get("host")
        if self._served and self._served.place(host):
            return self._served.connection(host, volume.id, self.path(volume))
        return self._connection(self.path(volume))

    def initialize_connection_snapshot(
        self, snapshot: Any, connector: Any, **kwargs: Any
    ) -> dict[str, Any]:
        return self._connection(self.path(snapshot))

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

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> bool:
        """Whether another server on the same host has the volume, too; else it is served no more.

        Of a file nothing was made for a connection. But the backup service, which restores into
        what it takes for a disk, has cut the file off where the backup's zeros begin that end it.
        """
        self.make_whole(volume)
        host = (connector or {}).get("host")
        if host and _hosts(volume).count(host) > 1:
            return True
        if self._served:
            self._served.end(volume.id, host)
        return False

    def make_whole(self, volume: Any) -> None:
        """Its file has the volume's size, for which it was given room (`initialize_connection`)."""
        with contextlib.suppress(FileNotFoundError):
            grow_file(self.path(volume), _bytes(volume))

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

    def _remove(self, path: Path) -> None:
        """What is gone already is deleted: an interrupted deletion is asked for again."""
        try:
            path.unlink()
        except FileNotFoundError:
            LOG.warning("%s was not there to be deleted", path)
            return
        sync_directory(self._files.directory)


def _attached(host: str) -> set[str]:
    """Ids of the volumes that servers on it have, as cinder has written down."""
    found = objects.VolumeAttachmentList.get_all_by_host(context.get_admin_context(), host)
    return {str(one.volume_id) for one in found}


def _hosts(volume: Any) -> list[str]:
    """Of each of its attachments."""
    return [
        str(one.attached_host or (one.connector or {}).get("host") or "")
        for one in volume.volume_attachment or ()
    ]


def _copied_from_elsewhere(volume: Any) -> bool:
    """Whether a migration has it made for its copy."""
    return str(volume.migration_status or "").startswith("target:")


def _check_encryption(volume: Any, source: Any) -> None:
    """The volume gets the content of ``source``, and is opened as its own type says."""
    if bool(volume.encryption_key_id) != bool(source.encryption_key_id):
        raise Refused(OTHER_ENCRYPTION)


def _bytes(volume: Any) -> int:
    return int(volume.size) * int(units.Gi)
