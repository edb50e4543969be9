"""Where objects lie: the file with its zones, and disks. With real loop devices, as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.components.swift import Swift, changes, config, wanted_rings
from onestack.components.swift.devices import (
    Device,
    DeviceLayout,
    check_disk,
    layout_file,
    loop_file,
    readable,
    srv,
)
from onestack.host.files import uid_of
from onestack.host.ledger import Ledger
from onestack.kernel.mounts import is_mounted, table
from onestack.model.errors import OnestackError
from onestack.model.findings import Severity
from onestack.storage import attach, loop
from onestack.storage.store import StoreRecord
from tests.support.needs import needs_root
from tests.unit.components.rooms import context

USER = "daemon"
ZONES = DeviceLayout(USER, "ext4", 1, (Device("zone1", 1), Device("zone2", 2)))

pytestmark = needs_root


@pytest.fixture
def root() -> Iterator[Path]:
    one = Path(tempfile.mkdtemp(prefix="swift-", dir="/var/tmp"))
    layout_file(one).parent.mkdir(parents=True)
    yield one
    for mount in reversed(table()):
        if one in mount.target.parents:
            subprocess.run(["umount", "--lazy", mount.target], check=True)
    for image in one.rglob("*.img"):
        loop.detach(image)
    shutil.rmtree(one)


def command(root: Path, layout: DeviceLayout, *words: str) -> int:
    """As the supervisor runs it."""
    layout_file(root).write_text(json.dumps(layout.to_json()))
    return attach.main(["onestack.components.swift.inside.places:Places", str(root), *words])


def make_file(root: Path) -> None:
    for change in loop_file(root).ensure(
        StoreRecord(512 << 20, "ext4"), Ledger(root / "ledger.json")
    ):
        change.do()


def test_zones_of_the_file(root: Path) -> None:
    make_file(root)
    assert command(root, ZONES) == 0
    place = srv(root)
    # Every directory is a device to swift: no other may be there.
    assert sorted(path.name for path in place.iterdir()) == ["zone1", "zone2"]
    for zone in place.iterdir():
        info = zone.stat()
        assert (info.st_uid, info.st_mode & 0o777) == (uid_of(USER), 0o750)
        assert (zone / ".ismount").is_file()
    (place / "zone2" / "object").write_text("kept")
    assert command(root, ZONES, "--detach") == 0
    # Unmounted, nothing says that here is a device.
    assert not list(place.iterdir())
    # A zone that was given up is still served, until it is empty.
    assert command(root, DeviceLayout(USER, "ext4", 1, ZONES.devices[:1])) == 0
    assert (place / "zone2" / ".ismount").is_file()
    assert (place / "zone2" / "object").read_text() == "kept"


def test_in_use_it_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_file(root)
    command(root, ZONES)
    with (srv(root) / "zone1" / "object").open("w"):
        assert command(root, ZONES, "--detach") == 0
    assert "is in use and stays mounted" in capsys.readouterr().err
    assert is_mounted(srv(root))


def test_without_its_file_it_does_not_begin(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, ZONES) != 0
    assert "run onestack up" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_disks(root: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    image = root / "disk.img"
    image.touch()
    os.truncate(image, 512 << 20)
    disk = str(loop.attach(image))
    layout = DeviceLayout(USER, kind, 1, (Device("one", 1, disk),))
    assert command(root, layout) != 0
    assert f"mkfs.xfs {disk}" in capsys.readouterr().err
    subprocess.run([f"mkfs.{kind}", "-q", disk], check=True)
    assert command(root, layout) == 0
    place = srv(root) / "one"
    assert is_mounted(place) and place.stat().st_uid == uid_of(USER)
    assert command(root, layout) == 0
    with pytest.raises(OnestackError) as caught:
        check_disk(disk, srv(root) / "another")
    assert caught.value.why == f"it is mounted on {place}"
    assert command(root, layout, "--detach") == 0
    assert not is_mounted(place)


def two_disks(root: Path) -> list[Device]:
    devices = []
    for zone, name in enumerate(("one", "two"), 1):
        image = root / f"{name}.img"
        image.touch()
        os.truncate(image, 512 << 20)
        subprocess.run(["mkfs.xfs", "-q", image], check=True)
        devices.append(Device(name, zone, str(loop.attach(image))))
    return devices


def test_disks_come_and_go(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    devices = two_disks(root)
    one, two = (srv(root) / device.name for device in devices)
    assert command(root, DeviceLayout(USER, "xfs", 2, tuple(devices))) == 0
    assert is_mounted(one) and is_mounted(two)
    # One that is taken out is let go of; one that is gone does not stop the others.
    gone = Device("gone", 2, str(root / "no-disk"))
    assert command(root, DeviceLayout(USER, "xfs", 2, (devices[0], gone))) == 0
    assert is_mounted(one) and not is_mounted(two)
    assert "no-disk" in capsys.readouterr().err
    assert command(root, DeviceLayout(USER, "xfs", 2, (gone,))) != 0
    assert command(root, DeviceLayout(USER, "xfs", 2, (devices[0], gone)), "--detach") == 0
    assert not is_mounted(one)


def shut_down(place: Path) -> None:
    """What XFS does itself, when it has failed to write."""
    subprocess.run(["xfs_io", "-x", "-c", "shutdown", place], check=True)


def test_a_dying_disk_stops_nobody(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is there, and every read of it fails."""
    devices = two_disks(root)
    layout = DeviceLayout(USER, "xfs", 2, tuple(devices))
    one, two = (srv(root) / device.name for device in devices)
    assert command(root, layout) == 0 and readable(devices[1].source)
    os.truncate(root / "two.img", 0)
    assert not readable(devices[1].source)
    shut_down(two)
    with pytest.raises(OSError, match="Input/output error"):
        two.stat()
    # While it is mounted.
    assert command(root, layout) == 0
    assert "Input/output error" in capsys.readouterr().err
    # And after a boot.
    assert command(root, layout, "--detach") == 0 and not is_mounted(one)
    assert command(root, layout) == 0
    assert is_mounted(one) and not is_mounted(two)
    assert "it cannot be read: Input/output error" in capsys.readouterr().err
    shut_down(one)
    assert command(root, layout) == 1
    assert command(root, DeviceLayout(USER, "xfs", 1, (devices[0],))) == 1


def test_a_dying_disk_can_be_taken_out(root: Path) -> None:
    sources = [device.source for device in two_disks(root)]

    def found(*disks: str) -> list[tuple[Severity, str, str]]:
        said = Swift().preflight_checks(
            context(root, Swift(), CONFIG_SWIFT_STORAGES=",".join(disks))
        )
        return [(finding.severity, finding.what, finding.why) for finding in said]

    ctx = context(root, Swift(), CONFIG_SWIFT_STORAGES=",".join(sources))
    rings = wanted_rings(ctx)
    changes.rings_record(ctx).write_text(json.dumps(rings))
    layout_file(root).write_text(json.dumps(changes.layout(ctx).to_json()))
    assert config.directory(ctx) == layout_file(root).parent
    ((severity, what, _),) = found(sources[0])
    assert severity is Severity.REFUSE and f"{sources[1]} cannot be taken out" in what
    os.truncate(root / "two.img", 0)
    ((severity, what, why),) = found(*sources)
    assert severity is Severity.WARN and sources[1] in what and "cannot be read" in why
    ((severity, what, _),) = found(sources[0])
    assert severity is Severity.WARN and f"{sources[1]} alone are lost" in what
    assert wanted_rings(ctx) == rings
