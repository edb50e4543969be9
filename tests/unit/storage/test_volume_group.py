"""The volume group: made, found, adopted, removed. With LVM's own tools on real loop devices.

Without device-mapper, which the thin pool needs: that is `tests/server/test_volume_group.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from onestack.deploy.undo import undo, undos
from onestack.host.ledger import Ledger
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.storage import loop, loopfile, lvm, volume_group, volumes
from onestack.storage.loop import Backing
from onestack.storage.lvm import Lvm
from onestack.storage.store import StoreRecord
from onestack.storage.volume_group import EXTENT, GroupRecord, Keys, VolumeGroup, metadata_size
from tests.support.needs import needs_root

GIB = 1 << 30
SIZE = 1 * GIB
KEYS = Keys("SIZE", "SPARSE", "NAME", "CREATE")
needs_lvm = pytest.mark.skipif(not shutil.which("vgcreate"), reason="lvm2 is not installed")
pytestmark = [needs_root, needs_lvm]


@dataclass(frozen=True)
class WithoutPool(VolumeGroup):
    """All but the thin pool, in whose place stands a number: what it has of the group."""

    @property
    def _given(self) -> Path:
        return self.home / "given"

    def _size(self, group: str) -> int:
        rows = self.lvm.report("vgs", "vg_size", "--select", f"vg_name={group}")
        return int(rows[0]["vg_size"]) if rows else 0

    def _pool(self, group: str) -> Any:
        if not self._given.exists():
            return None
        size = int(self._given.read_text())
        (entry,) = Ledger(self.root / "etc/ledger.json").entries()
        return volume_group._Pool(size, size, (entry.data["tag"],), 1.0, 1.0, True, True, False)

    def _make_pool(self, known: GroupRecord, group: Any) -> Any:
        self._given.write_text(str(self._size(known.name)))
        return self._pool(known.name)

    def _widen(self, known: GroupRecord, pool: Any) -> bool:
        self._given.write_text(str(self._size(known.name)))
        return bool(self._size(known.name) != pool.size)

    def _there(self, known: GroupRecord) -> Any:
        group = super()._there(known)
        pool = self._pool(known.name)
        return replace(group, free=self._size(known.name) - pool.size if pool else 0)


@pytest.fixture(autouse=True)
def no_device_mapper(monkeypatch: pytest.MonkeyPatch) -> None:
    without = "use_lvmpolld = 0\n\tactivation = 0"
    monkeypatch.setattr(lvm, "CONF", lvm.CONF.replace("use_lvmpolld = 0", without))


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="group-", dir="/var/tmp"))
    yield folder
    for file in folder.rglob("*.img"):
        for device in list(loop.devices_of(file)):
            subprocess.run(["losetup", "--detach", device], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def cloud(place: Path) -> Cloud:
    made = Cloud("group", place / "cloud")
    made.etc.mkdir(parents=True)
    return made


def store(cloud: Cloud, **changes: Any) -> WithoutPool:
    name = f"test-{cloud.root.parent.name}"
    return WithoutPool(**{"root": cloud.root, "name": name, "keys": KEYS, **changes})


def settle(one: VolumeGroup, size: int = SIZE, sparse: bool = True) -> list[str]:
    done = []
    ledger = Ledger(one.root / "etc/ledger.json")
    for change in one.ensure(StoreRecord(size, "lvm", "daemon", sparse), ledger):
        change.do()
        done.append(change.what)
    return done


def tags(cloud: Cloud) -> list[str]:
    entries = Ledger.of(cloud).entries()
    return [entry.data["tag"] for entry in entries if entry.kind == "volume group"]


def disk(file: Path, size: int = 200 << 20, *more: str) -> Path:
    """A loop device, as an operator makes it."""
    with file.open("wb") as made:
        made.truncate(size)
    words = ["losetup", "--find", "--show", *more, str(file)]
    return Path(subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip())


def by_hand(*words: str | Path) -> str:
    """With the machine's settings, as far as there can be without device-mapper."""
    words = (*words, "--config", "global { activation = 0 }")
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def groups(prefix: str = "test-group-") -> list[str]:
    return [name for name in by_hand("vgs", "--noheadings", "-o", "name").split() if prefix in name]


def test_the_tag_is_in_the_ledger_before_the_group_is_made(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store(cloud)
    real, killed = Lvm.run, [True]

    def run(self: Lvm, *words: Any, check: bool = True) -> Any:
        if words[0] == "vgcreate":
            assert words[2] in tags(cloud)
            if killed.pop() if killed else False:
                raise KeyboardInterrupt
        return real(self, *words, check=check)

    monkeypatch.setattr(Lvm, "run", run)
    with pytest.raises(KeyboardInterrupt):
        settle(one)
    assert one.load() is None and loop.device_of(one.image)
    (tag,) = tags(cloud)
    loop.detach(one.image)  # a boot in between
    assert settle(one) == [f"make the volume group {one.name} of 1G in {one.home}"]
    assert settle(one) == []
    assert tags(cloud) == [tag] and groups().count(one.name) == 1
    known = one.known()
    assert (known.tag, known.own, known.files) == (tag, True, (Backing(one.image),))
    assert volumes.kept(cloud.root) == VolumeGroup.at(cloud.root)


def test_a_run_that_was_killed_before_it_could_say_so(cloud: Cloud) -> None:
    one = store(cloud)
    settle(one)
    known = one.known()
    one.record.unlink()
    settle(one)
    assert one.known() == known


def test_another_group_of_that_name_is_not_taken(cloud: Cloud, place: Path) -> None:
    one = store(cloud)
    by_hand("vgcreate", one.name, disk(place / "theirs.img"))
    with pytest.raises(OnestackError, match=r"is a volume group .* already") as refused:
        settle(one)
    assert "CREATE=n" in refused.value.cure and "NAME=" in refused.value.cure
    assert tags(cloud) == [] and not one.image.exists()
    used = store(cloud, create=False)
    assert settle(used) == [f"take the volume group {one.name} for volumes"]
    assert settle(used) == []
    known = used.known()
    assert (known.own, known.files) == (False, (Backing(place / "theirs.img"),))
    # found again after a boot
    loop.detach(place / "theirs.img")
    assert used.attach()[0].startswith(f"attached {place}/theirs.img to ")
    with pytest.raises(OnestackError, match="was not made by onestack"):
        used.grow(2 * GIB)
    for entry in Ledger.of(cloud).entries():
        undo(entry, undos())
    assert one.name in groups() and (place / "theirs.img").exists()
    assert not one.home.exists()


def test_a_group_that_is_not_there(cloud: Cloud) -> None:
    with pytest.raises(OnestackError, match="there is no volume group") as refused:
        settle(store(cloud, create=False))
    assert "vgcreate" in refused.value.cure
    assert tags(cloud) == []


def test_another_name_is_refused_once_volumes_are_there(cloud: Cloud) -> None:
    settle(store(cloud))
    with pytest.raises(OnestackError, match="cannot become other"):
        settle(store(cloud, name="other"))


def test_a_group_that_was_begun_keeps_its_name(cloud: Cloud) -> None:
    settle(store(cloud))
    store(cloud).record.unlink()  # as if killed before it was written
    with pytest.raises(OnestackError, match="cannot become test-group-y"):
        settle(store(cloud, name="test-group-y"))
    assert len(tags(cloud)) == 1


def test_what_is_removed_is_the_clouds(cloud: Cloud) -> None:
    one = store(cloud)
    settle(one)
    (change,) = VolumeGroup.at(cloud.root).remove(Ledger.of(cloud))
    assert change.what == f"remove the volume group {one.name}, and all volumes"
    change.do()
    assert one.name not in groups() and not one.home.exists() and tags(cloud) == []
    assert not list(VolumeGroup.at(cloud.root).remove(Ledger.of(cloud)))


def test_two_clouds_have_two_groups(cloud: Cloud, place: Path) -> None:
    other = Cloud("other", place / "other")
    other.etc.mkdir(parents=True)
    settle(store(cloud))
    settle(store(other, name="test-group-other"))
    for entry in Ledger.of(cloud).entries():
        undo(entry, undos())
    assert store(cloud).name not in groups() and "test-group-other" in groups()
    assert store(other).known().tag in tags(other)


def test_it_grows_by_its_file(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    one = store(cloud)
    settle(one)
    before = one.known().size
    # what a run that was killed has left
    with one.image.open("r+b") as file:
        file.truncate(one.image.stat().st_size + 10 * EXTENT)
    assert settle(one, 2 * GIB) == [f"grow the volume group from {before >> 20}M to 2G"]
    assert one.known().size == 2 * GIB
    assert settle(one, 2 * GIB) == settle(one, SIZE) == []
    with pytest.raises(OnestackError, match="cannot shrink to 1G"):
        one.grow(GIB)
    monkeypatch.setattr(loopfile, "LEFT_FREE", 1 << 60)
    with pytest.raises(OnestackError, match="too full for the volume group of 3G"):
        settle(one, 3 * GIB)


def test_loop_files_made_by_hand_are_found_again(cloud: Cloud, place: Path) -> None:
    """Whole, and behind an offset. (Not every kernel here knows partitions; the guest's does.)"""
    one = store(cloud)
    settle(one)
    second, third = place / "second.img", place / "third.img"
    device = disk(second)
    further = disk(third, 200 << 20, "--offset", str(1 << 20))
    for pv in (device, further):
        by_hand("vgextend", "--yes", one.name, pv)
    one.attach()
    assert one.known().files == (
        Backing(one.image),
        Backing(second),
        Backing(third, 1 << 20),
    )
    facts_before = one.known().size
    for file in (one.image, second, third):
        loop.detach(file)
    assert one.attach()[:1] and len(list(loop.devices_of(second))) == 1
    assert one.known().size == facts_before
    # taken out by hand
    by_hand("vgreduce", one.name, loop.device_of(third) or "")
    one.attach()
    assert one.known().files == (Backing(one.image), Backing(second))
    loop.detach(third)
    # away
    loop.detach(second)
    second.rename(place / "away.img")
    with pytest.raises(OnestackError, match=f"{second}, on which the volume group") as refused:
        one.attach()
    assert "put it back" in refused.value.cure
    (place / "away.img").rename(second)
    assert one.attach()
    for entry in Ledger.of(cloud).entries():
        undo(entry, undos())
    assert second.exists() and not one.image.exists() and one.name not in groups()


def test_disks_that_are_missing_are_told(cloud: Cloud, place: Path) -> None:
    one = store(cloud)
    settle(one)
    by_hand("vgextend", "--yes", one.name, disk(place / "disk.img"))
    loop.detach(place / "disk.img")
    with pytest.raises(OnestackError, match="1 of the disks of the volume group") as refused:
        one.attach()
    assert "connect them" in refused.value.cure
    assert one.known().files == (Backing(one.image),)


def test_a_disk_with_something_on_it_is_not_taken(cloud: Cloud, place: Path) -> None:
    one = store(cloud)
    settle(one)
    device = disk(place / "disk.img")
    subprocess.run(["mke2fs", "-q", "-F", device], check=True)
    with pytest.raises(OnestackError, match="not empty: it has ext2") as refused:
        one.grow_onto(device)
    assert refused.value.cure.endswith(f"wipefs --all {device}")
    with pytest.raises(OnestackError, match="is no disk"):
        one.grow_onto(place / "disk.img")
    subprocess.run(["wipefs", "-q", "--all", device], check=True)
    other = disk(place / "other.img")
    by_hand("vgcreate", "test-group-x", other)
    with pytest.raises(OnestackError, match="has LVM2_member"):
        one.grow_onto(other)
    by_hand("pvcreate", device)  # of a run that was killed
    before = one.known().size
    one.grow_onto(device)
    one.grow_onto(device)
    assert one.known().size > before and Backing(place / "disk.img") in one.known().files


def test_nothing_of_the_machines_lvm_is_written(cloud: Cloud) -> None:
    one = store(cloud)
    settle(one)
    for folder in ("archive", "backup"):
        assert not list(Path("/etc/lvm", folder).glob(f"{one.name}*"))
    assert (one.lvm.home / "backup" / one.name).exists()
    # nor when its device comes: the machine leaves it alone
    shown = by_hand("vgs", "--noheadings", "-o", "vg_autoactivation", one.name)
    assert shown.strip() == ""
    assert oct(one.lvm.home.stat().st_mode & 0o777) == "0o700"


def test_a_damaged_record_is_told(cloud: Cloud) -> None:
    one = store(cloud)
    settle(one)
    one.record.write_text("{}")
    with pytest.raises(OnestackError, match="cannot be read") as refused:
        one.load()
    assert "found by its tag" in refused.value.cure
    one.record.unlink()
    settle(one)
    assert one.known().files


def test_a_groups_file_that_is_gone(cloud: Cloud) -> None:
    one = store(cloud)
    settle(one)
    loop.detach(one.image)
    one.image.unlink()
    with pytest.raises(OnestackError, match="is gone"):
        settle(one)


def test_records_are_read_as_they_were_written() -> None:
    files = (Backing(Path("/a")), Backing(Path("/b"), 512, 1024))
    record = GroupRecord("g", "t", True, 5, False, files)
    assert GroupRecord.from_json(json.loads(record.text)) == record


def test_what_is_offered_fits_the_file() -> None:
    assert metadata_size(20 * GIB) == 20 << 20
    for size in (512 << 20, GIB, 20 * GIB, 1000 * GIB, 100 << 40):
        meta = metadata_size(size)
        assert meta <= 16 << 30 and meta % EXTENT == 0
        # what is left of the file, when its own account is taken off, is the size
        room = VolumeGroup(Path("/")).length(size) - volume_group._HEAD
        assert room - 2 * volume_group._metadata_within(room) >= size


def test_what_is_behind_a_loop_device(place: Path) -> None:
    sys = place / "sys"
    for name in ("loop3", "sda"):
        (sys / name).mkdir(parents=True)
    for name, text in (("backing_file", "/x.img\n"), ("offset", "512\n"), ("sizelimit", "0\n")):
        (sys / "loop3/loop").mkdir(exist_ok=True)
        (sys / "loop3/loop" / name).write_text(text)
    part = sys / "loop3/loop3p1"
    part.mkdir()
    (part / "partition").write_text("1\n")
    (sys / "loop3p1").symlink_to(part)
    for name in ("loop3", "loop3p1"):
        assert loop.backing(Path("/dev", name), sys) == Backing(Path("/x.img"), 512)
    assert loop.backing(Path("/dev/sda"), sys) is None
