"""Loop devices: files seen as disks."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.model.change import Undo
from onestack.model.errors import OnestackError

_SYS = Path("/sys/block")
_CLASS = Path("/sys/class/block")
_CONTROL = Path("/dev/loop-control")
_MAJOR = 7
_GET_STATUS64 = 0x4C05
_STATUS64 = 232
"""Of linux/loop.h: the request, and the bytes of its answer, which begins with device and inode."""

SECTOR = 512
"""Bytes; what filesystems made in a file have."""

PATIENCE = 1.0
"""Seconds to wait for a device to be let go of."""


def available() -> bool:
    """Whether this machine gives out loop devices."""
    return os.access(_CONTROL, os.R_OK | os.W_OK)


@dataclass(frozen=True)
class Backing:
    """What a loop device shows of a file, bytes; ``limit`` 0: to its end."""

    file: Path
    offset: int = 0
    limit: int = 0


def backing(device: Path, sys: Path = _CLASS) -> Backing | None:
    """What is behind a loop device, or behind a partition of one; of another disk ``None``."""
    place = (sys / device.name).resolve()
    if (place / "partition").exists():
        place = place.parent
    try:
        file = (place / "loop/backing_file").read_text().rstrip("\n")
        offset, limit = (int((place / "loop" / n).read_text()) for n in ("offset", "sizelimit"))
    except OSError:
        return None
    return Backing(Path(file), offset, limit)


def device_of(file: Path, sys: Path = _SYS) -> Path | None:
    """The loop device that ``file`` is attached to, or ``None``."""
    return next(devices_of(file, sys), None)


def devices_of(file: Path, sys: Path = _SYS) -> Iterator[Path]:
    """All that it is attached to."""
    for backing in sys.glob("loop*/loop/backing_file"):
        try:
            name = backing.read_text().rstrip("\n")
        except OSError:  # detached while we looked
            continue
        device = Path("/dev") / backing.parts[-3]
        if name == str(file) and _is_of(device, file):
            yield device


def _is_of(device: Path, file: Path) -> bool:
    """Not of another file of that name: containers see each other's devices."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = fcntl.ioctl(descriptor, _GET_STATUS64, bytes(_STATUS64))
        finally:
            os.close(descriptor)
        info = file.stat()
    except OSError:  # it cannot be asked: the name is all there is
        return True
    return struct.unpack_from("QQ", status) == (info.st_dev, info.st_ino)


def attach(file: Path) -> Path:
    """The loop device of ``file``, attached if it is not yet. May be repeated.

    Direct I/O is asked for, so that no block is cached twice; a filesystem
    that has none is used without. Raises `OnestackError`.
    """
    if device := device_of(file):
        return device
    if not available():
        raise OnestackError(
            f"{file} cannot be attached to a loop device",
            "this machine has no /dev/loop-control",
            "load the loop module (modprobe loop), or give the container /dev/loop-control",
        )
    _make_node()
    # Of a file that shares blocks with another the kernel would make a disk of larger sectors
    # than a filesystem in it was made for: then it goes without direct I/O.
    words = ["losetup", "--find", "--show", "--direct-io=on", "--sector-size", str(SECTOR)]
    result = run([*words, str(file)], timeout=30, check=False)
    if not result.ok and not device_of(file):
        run(["losetup", "--find", "--show", str(file)], timeout=30)
    device = device_of(file)
    if device is None:
        raise OnestackError(
            f"{file} was attached to a loop device and is not to be found there",
            "/sys/block does not list it",
            "look at the output of: losetup --list",
        )
    return device


def attach_as_it_was(kept: Backing) -> Path | None:
    """A device that shows the same of the file, with its partitions; ``None``: it is there.

    Raises `OnestackError`.
    """
    for device in devices_of(kept.file):
        if backing(device) == kept:
            return None
    _make_node()
    part = ("--offset", str(kept.offset), "--sizelimit", str(kept.limit))
    words = ("losetup", "--find", "--show", "--partscan", *part, str(kept.file))
    return Path(run(words, timeout=30, finish=True).out.strip())


def detach(file: Path) -> None:
    """Detach ``file`` from its loop device, if it has one.

    The kernel waits for the device's last user: one that just looked (blkid)
    is waited for here, one that stays, such as a mount in another namespace,
    takes the device with it when it ends.
    """
    device = device_of(file)
    if device is None:
        return
    run(["losetup", "--detach", str(device)], timeout=30)
    until = time.monotonic() + PATIENCE
    while device_of(file) and time.monotonic() < until:
        time.sleep(0.02)


def resized(device: Path) -> None:
    """Let ``device`` see that its file has grown."""
    run(["losetup", "--set-capacity", str(device)], timeout=30)


def _make_node() -> None:
    """Make the device file of the next free loop device where nobody else does (containers)."""
    answer = run(["losetup", "--find"], timeout=30, check=False)
    if not (match := re.fullmatch(r"/dev/loop(\d+)", answer.out.strip())):
        return
    node = Path(match[0])
    if not node.exists():
        os.mknod(node, stat.S_IFBLK | 0o660, os.makedev(_MAJOR, int(match[1])))


def undo_loop(data: dict[str, Any]) -> None:
    """``file``: detach every loop device from it."""
    for device in list(devices_of(Path(data["file"]))):
        run(["losetup", "--detach", str(device)], timeout=30, finish=True)


UNDO: Mapping[str, Undo] = {"loop": undo_loop}
