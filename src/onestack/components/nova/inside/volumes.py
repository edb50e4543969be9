"""Volumes that are files or devices of this host, in nova's driver (services' environment)."""

from __future__ import annotations

from typing import Any

from nova.virt.libvirt import driver
from nova.virt.libvirt.volume.gpfs import LibvirtGPFSVolumeDriver
from nova.virt.libvirt.volume.volume import LibvirtVolumeDriver


class _Grows:
    """What upstream's drivers of local volumes lack: they refuse to tell a guest that one grew."""

    def extend_volume(self, connection_info: Any, instance: Any, requested_size: int) -> int:
        """The bytes that the guest is to see. The volume has them: cinder tells of it after that.

        As upstream has it for files on NFS; libvirt then lets the guest know.
        """
        return requested_size


class LocalFile(_Grows, LibvirtGPFSVolumeDriver):  # type: ignore[misc]
    """A plain file by its path: nothing to mount, to log in to."""


class LocalDevice(_Grows, LibvirtVolumeDriver):  # type: ignore[misc]
    """A device by its path."""


KINDS = {"gpfs": LocalFile, "local": LocalDevice}
"""Kinds of connections that are nothing but a path."""


def use_local_volumes() -> None:
    """Must come before libvirt's driver is first asked for a volume."""
    for kind, ours in KINDS.items():
        driver.VOLUME_DRIVERS[kind] = f"{ours.__module__}.{ours.__qualname__}"
