"""Volumes of servers that move while they run: a file on the controller, served on other hosts.

Upstream puts what the destination has for a volume into the guest's definition, but takes the
kind of its disk for the same on both; and libvirt lets no file be left behind that is not copied.
(Services' environment.)
"""

from __future__ import annotations

import functools
from typing import Any

from lxml import etree
from nova.virt.libvirt import guest, migration

_KINDS = {"file": "file", "dev": "block", "protocol": "network"}
"""What a source has, to the kind of disk that it is of."""


def move_with_volumes() -> None:
    """Must come before the first server moves."""
    update, migrate = migration._update_volume_xml, guest.Guest.migrate

    @functools.wraps(update)
    def update_volume_xml(*arguments: Any, **more: Any) -> Any:
        return of_their_kinds(update(*arguments, **more))

    @functools.wraps(migrate)
    def migrating(self: Any, *arguments: Any, **more: Any) -> Any:
        import libvirt

        if leaves_a_file(self.get_xml_desc(), more.get("destination_xml")):
            more["flags"] = more.get("flags", 0) | libvirt.VIR_MIGRATE_UNSAFE
        return migrate(self, *arguments, **more)

    migration._update_volume_xml = update_volume_xml
    guest.Guest.migrate = migrating


def of_their_kinds(definition: Any) -> Any:
    """A guest's ``definition``, each of its disks of the kind that its source is of."""
    for disk in definition.findall("./devices/disk"):
        source = disk.find("source")
        for name, kind in _KINDS.items():
            if source is not None and source.get(name):
                disk.set("type", kind)
    return definition


def leaves_a_file(now: str, then: str | None) -> bool:
    """Whether a disk that is a file is one that the controller serves to where the guest goes.

    It is the same volume, of which the kernel keeps one state for both, whoever writes: to go on
    there without a copy is safe. Of it libvirt knows a file alone.
    """
    if not then:
        return False
    return bool(_serials(now, "file", "") & _serials(then, "network", "nbd"))


def _serials(text: str, kind: str, protocol: str) -> set[str]:
    return {
        disk.findtext("serial")
        for disk in etree.fromstring(text).findall("./devices/disk")
        if disk.get("type") == kind
        and disk.findtext("serial")
        and (not protocol or disk.find("source").get("protocol") == protocol)
    }
