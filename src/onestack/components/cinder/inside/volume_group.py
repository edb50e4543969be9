"""Upstream's driver for LVM, with volumes that are devices of this machine (services' environment).

No iSCSI between a volume and a guest on the machine that has both: the connection is ``local``,
the device's path. The commands are run by the supervisor, which gives them LVM's settings of the
cloud's (`onestack.components.cinder.local`); this service stays an unprivileged user, and may
read and write its volumes by an access list on their devices, whoever libvirt gives them to.
"""
# ruff: noqa: E402

from __future__ import annotations

import os
import pwd
import shlex
import socket
import uuid
from typing import Any

from cinder import exception, interface, objects, utils
from cinder.brick.local_dev import lvm as brick

objects.register_all()  # without it the driver cannot be imported
from cinder.message.message_field import Action
from cinder.volume import configuration, volume_utils
from cinder.volume.drivers import lvm
from cinder.volume.targets import driver
from oslo_config import cfg
from oslo_log import log as logging

from onestack.components.cinder.inside.messages import told
from onestack.components.cinder.inside.refusals import PLAIN_ONLY, Refused

LOG = logging.getLogger(__name__)

_UPLOAD = "upload-"
"""How snapshots are called that are uploaded."""

OPTIONS = [
    cfg.StrOpt(
        "volumegroup_attach",
        help="Command, run as root, that takes in what was added to the volume group.",
    ),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def list_opts() -> list[tuple[str, list[Any]]]:
    """All options of the backend's section, for oslo.config's tools."""
    from cinder.volume import driver as common
    from cinder.volume import manager

    own = (OPTIONS, lvm.volume_opts, manager.volume_backend_opts, common.volume_opts)
    return [("lvm", [option for options in own for option in options])]


def device(group: str, name: str) -> str:
    """The path of a volume or snapshot. device-mapper writes a name's own hyphens twice."""
    return "/dev/mapper/" + "-".join(part.replace("-", "--") for part in (group, name))


class LocalDevice(driver.Target):  # type: ignore[misc]
    """What a target is to upstream's driver: here a device's path, on this machine alone."""

    protocol = storage_protocol = "local"
    SECONDARY_IP_SUPPORT = False

    def ensure_export(self, context: Any, volume: Any, volume_path: str) -> None:
        """A device needs no export."""

    def create_export(self, context: Any, volume: Any, volume_path: str) -> dict[str, str]:
        return {"location": "", "auth": ""}

    def remove_export(self, context: Any, volume: Any) -> None:
        """A device needs no export."""

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        host = connector.get("host")
        if host not in (None, cfg.CONF.host, socket.gethostname()):
            raise exception.VolumeBackendAPIException(
                data=f"the volume {volume.id} is a device of {cfg.CONF.host}, and {host} has no way"
                " to it: make the server there"
            )
        return {
            "driver_volume_type": "local",
            "data": {
                "device_path": device(self.configuration.volume_group, volume.name),
                # What a guest trims goes back to the thin pool.
                "discard": True,
            },
        }

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> None:
        """Nothing was made for a connection."""

    def validate_connector(self, connector: Any) -> bool:
        return True


class Group(brick.LVM):  # type: ignore[misc]
    """Upstream's view of a group. What becomes active is this service's to read and write."""

    vg_size: float
    vg_free_space: float

    def __init__(self, *args: Any, attach: str, **kwargs: Any) -> None:
        self._attach = attach
        super().__init__(*args, **kwargs)

    def create_volume(self, name: str, *more: Any, **options: Any) -> None:
        super().create_volume(name, *more, **options)
        self._open_to_us(name)

    def activate_lv(self, name: str, *more: Any, **options: Any) -> None:
        super().activate_lv(name, *more, **options)
        self._open_to_us(self._mangle_lv_name(name))

    def rename_volume(self, lv_name: str, new_name: str) -> None:
        """Upstream does it by privsep, without the cloud's settings."""
        self._root("lvrename", self.vg_name, lv_name, new_name)

    def update_volume_group_info(self) -> None:
        """What the operator adds to the group becomes the pool's, and is written down.

        The pool has all of the group: what is free has just been added.
        """
        known = self.vg_size
        super().update_volume_group_info()
        if self.vg_size == known or not (known or self.vg_free_space):
            return
        LOG.info("the volume group %s has %s GiB now", self.vg_name, self.vg_size)
        self.vg_size = known  # should it fail, it is done the next time
        self._root(*shlex.split(self._attach))
        super().update_volume_group_info()

    def _open_to_us(self, name: str) -> None:
        path = device(self.vg_name, name)
        if name != self.vg_thin_pool and not os.access(path, os.R_OK | os.W_OK):
            user = pwd.getpwuid(os.getuid()).pw_name
            self._root("setfacl", "--modify", f"user:{user}:rw", path)

    def _root(self, *words: str) -> None:
        self._execute(*words, root_helper=self._root_helper, run_as_root=True)


@interface.volumedriver
class VolumeGroupDriver(lvm.LVMVolumeDriver):  # type: ignore[misc]
    """Thin volumes of the group that onestack has made, or was given."""

    VERSION = "1.0.0"
    CI_WIKI_NAME = "onestack"
    vg: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        # Upstream chooses among those that it knows; nothing is made of its choice.
        self.target_driver = LocalDevice(configuration=self.configuration)
        self.protocol = self.target_driver.protocol

    def check_for_setup_error(self) -> None:
        """The group is there, and what an interrupted upload has left is not."""
        if self.vg is None:
            try:
                self.vg = Group(
                    self.configuration.volume_group,
                    utils.get_root_helper(),
                    lvm_type=self.configuration.lvm_type,
                    executor=self._execute,
                    attach=self.configuration.volumegroup_attach,
                )
            except exception.VolumeGroupNotFound as gone:
                raise exception.VolumeBackendAPIException(data=gone.msg) from gone
        super().check_for_setup_error()
        for left in self.vg.get_volumes():
            if left["name"].startswith(_UPLOAD):
                self.vg.delete(left["name"])

    def secure_file_operations_enabled(self) -> bool:
        """Volumes are read and written as cinder's own user, whoever has them meanwhile."""
        return True

    @told(Action.CREATE_VOLUME_FROM_BACKEND)
    def create_volume(self, volume: Any) -> None:
        """The encryption that upstream would do here puts a link in the place of the device."""
        if volume.encryption_key_id:
            raise Refused(PLAIN_ONLY)
        super().create_volume(volume)

    def retype(self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any) -> bool:
        """No type changes anything about a device; a new encryption cannot be had."""
        return not diff.get("encryption")

    def copy_volume_to_image(
        self, context: Any, volume: Any, image_service: Any, image_meta: Any
    ) -> None:
        """Upload a moment's snapshot, which is consistent even while an instance writes."""
        name = f"{_UPLOAD}{uuid.uuid4()}"
        self.vg.create_lv_snapshot(name, volume.name, self.configuration.lvm_type)
        try:
            self.vg.activate_lv(name)
            place = device(self.vg.vg_name, name)
            volume_utils.upload_volume(
                context, image_service, image_meta, place, volume, run_as_root=False
            )
        finally:
            self.vg.delete(name)
