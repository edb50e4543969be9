"""Where objects lie: the devices of the rings, from the answers.

Without ``CONFIG_SWIFT_STORAGES`` every zone is a directory of one filesystem
in a file; with it, every disk listed is a device of its own, mounted by its
name, which therefore should be one that lasts (``/dev/disk/by-id/…``).
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.answers.values import Answers
from onestack.kernel.mounts import table
from onestack.model.errors import OnestackError
from onestack.storage.filestore import FileStore
from onestack.storage.loopfile import filesystem

SIZE = "CONFIG_SWIFT_STORAGE_SIZE"


@dataclass(frozen=True)
class Device:
    """``name`` in the rings; ``source`` is a disk, or nothing for a zone of the file."""

    name: str
    zone: int
    source: str = ""


@dataclass(frozen=True)
class DeviceLayout:
    """What `attach` and `rings` are told; kept as JSON."""

    user: str
    kind: str
    replicas: int
    devices: tuple[Device, ...]

    @property
    def in_file(self) -> bool:
        return not any(device.source for device in self.devices)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> DeviceLayout:
        return cls(**{**raw, "devices": tuple(Device(**d) for d in raw["devices"])})


def listed(answers: Answers) -> list[str]:
    """The disks of the answer; Havana wrote them as ``HOST/DEVICE``."""
    found = []
    for text in answers["CONFIG_SWIFT_STORAGES"]:
        host, _, rest = text.partition("/")
        found.append(f"/dev/{rest}" if host and rest and not rest.startswith("dev/") else text)
    return found


def layout(answers: Answers, user: str, before: DeviceLayout | None = None) -> DeviceLayout:
    """What the answers ask for. A disk that was there ``before`` keeps its name in the rings."""
    known = {os.path.realpath(d.source): d.name for d in before.devices} if before else {}
    zones = int(answers["CONFIG_SWIFT_STORAGE_ZONES"])
    disks = listed(answers)
    devices = (
        tuple(
            Device(known.get(os.path.realpath(disk)) or _name(disk), index % zones + 1, disk)
            for index, disk in enumerate(disks)
        )
        if disks
        else tuple(Device(f"zone{zone}", zone) for zone in range(1, zones + 1))
    )
    return DeviceLayout(
        user,
        str(answers["CONFIG_SWIFT_STORAGE_FSTYPE"]),
        int(answers["CONFIG_SWIFT_STORAGE_REPLICAS"]),
        devices,
    )


def _name(disk: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", Path(disk).name)


def validate(answers: Answers) -> Iterator[str]:
    zones = int(answers["CONFIG_SWIFT_STORAGE_ZONES"])
    replicas = int(answers["CONFIG_SWIFT_STORAGE_REPLICAS"])
    disks = listed(answers)
    if replicas > zones:
        yield (
            f"CONFIG_SWIFT_STORAGE_REPLICAS={replicas} asks for more copies than "
            f"CONFIG_SWIFT_STORAGE_ZONES={zones} has zones: each copy lies in another zone"
        )
    if disks and zones > len(disks):
        yield (
            f"CONFIG_SWIFT_STORAGE_ZONES={zones} asks for more zones than "
            f"CONFIG_SWIFT_STORAGES has disks ({len(disks)})"
        )
    names = [device.name for device in layout(answers, "").devices]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"CONFIG_SWIFT_STORAGES has {', '.join(twice)} twice"


def loop_file(root: Path) -> FileStore:
    place = home(root)
    return FileStore(
        place / "disk.img", srv(root), place / "disk.json", "the object store's file", SIZE
    )


def home(root: Path) -> Path:
    return root / "data" / "swift"


def srv(root: Path) -> Path:
    """The directory with a directory for each device."""
    return home(root) / "srv"


def layout_file(root: Path) -> Path:
    return root / "etc" / "swift" / "devices.json"


def known(root: Path) -> DeviceLayout | None:
    """The layout that is there."""
    file = layout_file(root)
    return DeviceLayout.from_json(json.loads(file.read_text())) if file.exists() else None


def readable(disk: str) -> bool:
    """Whether a disk is there and answers: itself, not the kernel's memory of it."""
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECT)
        with open(descriptor, "rb", buffering=0) as file:
            return file.readinto(mmap.mmap(-1, mmap.PAGESIZE)) > 0
    except OSError:
        return False


def check_disk(disk: str, place: Path) -> str:
    """The filesystem of ``disk``. Raises `OnestackError` when it cannot hold objects."""
    path = Path(disk)
    if not path.is_block_device():
        raise OnestackError(
            f"{disk} of CONFIG_SWIFT_STORAGES cannot hold objects",
            "it is not there" if not path.exists() else "it is no disk",
            "name a disk with a filesystem on it, or leave the answer empty for a file",
        )
    try:
        kind = filesystem(path)
    except OSError as problem:
        raise OnestackError(
            f"{disk} of CONFIG_SWIFT_STORAGES cannot hold objects",
            f"it cannot be read: {problem.strerror}",
            "replace it by another disk in the answer",
        ) from problem
    if not kind:
        raise OnestackError(
            f"{disk} of CONFIG_SWIFT_STORAGES cannot hold objects",
            "there is neither XFS nor ext4 on it, and onestack formats no disk",
            f"mkfs.xfs {disk}, if nothing on it is needed; then run the same command again",
        )
    real = os.path.realpath(disk)
    for mount in table():
        if os.path.realpath(mount.source) == real and mount.target != place:
            raise OnestackError(
                f"{disk} of CONFIG_SWIFT_STORAGES cannot hold objects",
                f"it is mounted on {mount.target}",
                "unmount it, or name another",
            )
    return kind
