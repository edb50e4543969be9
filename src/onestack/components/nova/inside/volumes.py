"""Kinds of volumes that upstream's driver lacks, or half knows (services' environment).

Files and devices of this host; and what the controller serves to other hosts by NBD.
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any

from lxml import etree
from nova import exception
from nova.virt import block_device
from nova.virt.libvirt import config, driver
from nova.virt.libvirt.volume.gpfs import LibvirtGPFSVolumeDriver
from nova.virt.libvirt.volume.net import LibvirtNetVolumeDriver
from nova.virt.libvirt.volume.volume import LibvirtVolumeDriver

from onestack.storage.nbd import greeted

WAIT = 86400
"""Seconds for which a guest's reads and writes wait for the controller. Then, and at once where
libvirt does not know of that (before 9.1), the guest stops until the controller is there again
(`waiting`): it is as a disk that does not answer, and not as one that is broken."""
REACHED = 60.0
"""Seconds for which the controller is waited for before a server gets a volume of its."""
LATER = (
    "a server on another host than the controller sees it of an encrypted volume once it is "
    "stopped and started"
)


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


class _Disk(config.LibvirtConfigGuestDisk):  # type: ignore[misc]
    """With what upstream has no words for: TLS alone, and a controller that is waited for."""

    def format_dom(self) -> Any:
        disk = super().format_dom()
        for policy in ("error_policy", "rerror_policy"):
            disk.find("driver").set(policy, "stop")
        source = disk.find("source")
        source.set("tls", "yes")
        source.append(etree.Element("reconnect", delay=str(WAIT)))
        return disk


class Served(LibvirtNetVolumeDriver):  # type: ignore[misc]
    """What the controller serves: QEMU is the client, nothing of it is on this host."""

    def get_config(self, connection_info: Any, disk_info: Any) -> Any:
        made: Any = _Disk()
        made.__dict__.update(vars(super().get_config(connection_info, disk_info)))
        return made

    def connect_volume(self, connection_info: Any, instance: Any) -> None:
        """It is reached; a guest would end with less said, and one that boots with a host waits."""
        (host,), (port,) = connection_info["data"]["hosts"], connection_info["data"]["ports"]
        until = time.monotonic() + REACHED
        while True:
            try:
                greeted(host, int(port), 5)
                return
            except OSError as problem:
                if time.monotonic() > until:
                    raise exception.InternalError(
                        f"The cloud's volumes are not reached at {host}, TCP port {port}: "
                        f"{problem}. A packet filter is in between, or nobody serves there "
                        "(onestack status on the controller: cinder-nbd- and this host's name)."
                    ) from problem
                time.sleep(1)

    def extend_volume(self, connection_info: Any, instance: Any, requested_size: int) -> int:
        """QEMU asks for a volume's size as it connects, and the controller has ended what was open.

        It finds that out as it reads: a guest that does nothing is made to.
        """
        volume = block_device.get_volume_id(connection_info)
        if connection_info["data"].get("encrypted"):
            raise exception.VolumeExtendFailed(volume_id=volume, reason=LATER)
        guest = self.host.get_guest(instance)
        if guest.is_active():
            _resize(guest, volume, requested_size)
        return requested_size


def _resize(guest: Any, volume: str, size: int) -> None:
    """As nova has it done after that, which is no more than said again then."""
    import libvirt

    disk = next((disk for disk in guest.get_all_disks() if disk.serial == volume), None)
    if disk is None:
        raise exception.VolumeNotFound(volume_id=volume)
    until = time.monotonic() + REACHED
    while True:
        _read(guest._domain, config.make_libvirt_device_alias(volume))
        try:
            guest.get_block_device(disk.target_dev).resize(size)
            return
        except libvirt.libvirtError:
            # It connects in the background, and has the old size until then.
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _read(domain: Any, alias: str) -> None:
    """Have the guest's QEMU read the first bytes of its disk. Raises libvirt's error."""
    import libvirt_qemu

    def ask(command: str, **arguments: Any) -> Any:
        said = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuMonitorCommand(domain, said, 0)).get("return")

    for disk in ask("query-block") or ():
        if alias in str(disk.get("qdev", "")).split("/") and "inserted" in disk:
            node = disk["inserted"]["node-name"]
            ask("human-monitor-command", **{"command-line": f'qemu-io {node} "read 0 512"'})


STAYS = (
    "the controller serves it to another host, and it stays in its back-end while a server there "
    "has it: detach it first"
)


def refuse_to_swap() -> None:
    """A volume for another below a guest, where one of them is served: it would go on under the
    name of the wrong one, and nobody would end that.

    Cinder asks for it, to move a volume in use to another back-end.
    """
    swap = driver.LibvirtDriver.swap_volume

    @functools.wraps(swap)
    def swap_volume(self: Any, context: Any, old: Any, new: Any, *rest: Any, **more: Any) -> Any:
        if "nbd" in (old["driver_volume_type"], new["driver_volume_type"]):
            raise exception.VolumeRebaseFailed(reason=STAYS)
        return swap(self, context, old, new, *rest, **more)

    driver.LibvirtDriver.swap_volume = swap_volume


KINDS = {"gpfs": LocalFile, "local": LocalDevice, "nbd": Served}
"""Kinds of connections: nothing but a path, and what is served."""


def use_local_volumes() -> None:
    """Must come before libvirt's driver is first asked for a volume."""
    for kind, ours in KINDS.items():
        driver.VOLUME_DRIVERS[kind] = f"{ours.__module__}.{ours.__qualname__}"
