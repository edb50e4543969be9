"""Disks of a cluster's machines, on guests of today (sahara's environment).

Upstream takes every partition for a disk of the cluster's that is not mounted, and makes a file
system in it: where the boot loader and the kernel lie apart, those are gone. What it mounts
with, no kernel of today takes: ext4 without a journal has no ``data=``, and xfs no ``nobarrier``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from sahara.service import volumes

Find = Callable[[Any], list[str]]
PARTITION = re.compile(r"(.*\d)p\d+|(/dev/(?:s|h|v|xv)d[a-z]+)\d+")


def disk_of(device: str) -> str:
    """``/dev/vda`` of ``/dev/vda2``; the device itself where it is no partition."""
    found = PARTITION.fullmatch(device)
    return (found[1] or found[2]) if found else device


def unused(devices: Iterable[str], mounted: Iterable[str]) -> list[str]:
    """Those of disks of which nothing is mounted."""
    used = {disk_of(device) for device in mounted}
    return [device for device in devices if disk_of(device) not in used]


def find(upstream: Find, instance: Any) -> list[str]:
    found = upstream(instance)
    with instance.remote() as guest:
        _, mounts = guest.execute_command("cat /proc/mounts")
    return unused(found, (line.split()[0] for line in mounts.splitlines()))


def mount(instance: Any, device: str, place: str, xfs: bool) -> None:
    """For good: in the guest's fstab too."""
    kind = "xfs" if xfs else "ext4"
    with instance.remote() as guest:
        guest.execute_command(f"sudo mkdir -p {place}")
        guest.execute_command(f"sudo mount -t {kind} -o noatime,nodiratime {device} {place}")
        guest.execute_command(f'sudo sh -c "grep {device} /etc/mtab >> /etc/fstab"')


def mend() -> None:
    volumes._find_instance_devices = functools.partial(find, volumes._find_instance_devices)
    volumes._mount_volume = mount


mend()
