"""The places of objects, as a store that is mounted: the zones of the file, or the disks.

`onestack.storage.attach` mounts them where the storage servers run.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.components.swift.devices import (
    Device,
    DeviceLayout,
    check_disk,
    layout_file,
    loop_file,
    srv,
)
from onestack.host.command import run
from onestack.host.files import gid_of, uid_of, write_file
from onestack.kernel.mounts import is_mounted, table
from onestack.model.errors import OnestackError
from onestack.storage.loopfile import OPTIONS

MOUNTED = ".ismount"
"""Swift's own sign that a directory is what it should be: without it, nothing is written there."""


@dataclass(frozen=True)
class Places:
    """An `onestack.storage.store.Attachable`; ``root`` is the cloud's."""

    root: Path

    def attach(self) -> Iterator[str]:
        layout = self._layout()
        yield from (_attach_file if layout.in_file else _attach_disks)(self.root, layout)

    def detach(self) -> Iterator[str]:
        if self._layout().in_file:
            yield from loop_file(self.root).detach()
        else:
            yield from _unmount(self.root)

    def _layout(self) -> DeviceLayout:
        return DeviceLayout.from_json(json.loads(layout_file(self.root).read_text()))


def _attach_file(root: Path, known: DeviceLayout) -> Iterator[str]:
    yield from loop_file(root).attach()
    # Every directory here is a device to swift; this one is ext4's, and empty.
    with contextlib.suppress(OSError):
        (srv(root) / "lost+found").rmdir()
    # Also zones that the rings no longer use, until they are empty.
    names = {device.name for device in known.devices}
    names |= {path.name for path in srv(root).glob("zone*")}
    for name in sorted(names):
        place = srv(root) / name
        if not place.is_dir():
            place.mkdir()
            yield f"made {place}"
        _adopt(place, known.user)
        write_file(place / MOUNTED, "", mode=0o644)


def _attach_disks(root: Path, known: DeviceLayout) -> Iterator[str]:
    # A disk that was taken out has to be let go of.
    yield from _unmount(root, keep={device.name for device in known.devices})
    failed: list[OnestackError | OSError] = []
    for device in known.devices:
        try:
            yield from _mount(root, device, known.user)
        except (OnestackError, OSError) as problem:
            # Also a disk that is there and mounted, but dead: what is asked of it is refused.
            failed.append(problem)
            yield str(problem)
    # Without one of its disks the store goes on with the others' copies.
    if len(failed) == len(known.devices):
        raise failed[-1]


def _mount(root: Path, device: Device, user: str) -> Iterator[str]:
    place = srv(root) / device.name
    place.mkdir(parents=True, exist_ok=True)
    if not is_mounted(place):
        kind = check_disk(device.source, place)
        run(["mount", "-t", kind, "-o", OPTIONS, device.source, place], finish=True)
        yield f"mounted {device.source} on {place}"
    _adopt(place, user)


def _unmount(root: Path, keep: Iterable[str] = ()) -> Iterator[str]:
    """All disks but those of the names in ``keep``; says which are in use."""
    for place in [mount.target for mount in table() if mount.target.parent == srv(root)]:
        if place.name in keep:
            continue
        if not run(["umount", place], check=False, finish=True).ok:
            yield f"{place} is in use and stays mounted"


def _adopt(place: Path, user: str) -> None:
    uid, gid = uid_of(user), gid_of(user)
    info = place.stat()
    if (info.st_uid, info.st_gid) != (uid, gid):
        # From another machine, where the user had another number.
        run(["chown", "-R", f"{uid}:{gid}", place], timeout=600, finish=True)
    if info.st_mode & 0o7777 != 0o750:
        os.chmod(place, 0o750)
