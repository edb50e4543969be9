"""A disk of a component's own: made, mounted, grown, found again. With real loop devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.deploy.undo import undo, undos
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.kernel.mounts import is_mounted
from onestack.model.errors import OnestackError
from onestack.storage import loop, loopfile
from onestack.storage.filestore import FileStore
from onestack.storage.loopfile import filesystem
from onestack.storage.store import StoreRecord
from tests.support.needs import needs_root

SIZE = 512 << 20


@pytest.fixture
def file() -> Iterator[FileStore]:
    root = Path(tempfile.mkdtemp(prefix="disk-", dir="/var/tmp"))
    place = root / "srv"
    one = FileStore(root / "disk.img", place, root / "disk.json", "the store's file", "THE_SIZE")
    yield one
    while is_mounted(one.directory):
        subprocess.run(["umount", "--lazy", one.directory], check=True)
    loop.detach(one.image)
    shutil.rmtree(root)


def settle(file: FileStore, size: int = SIZE, kind: str = "ext4") -> list[str]:
    done = []
    ledger = Ledger(file.image.parent / "ledger.json")
    for change in file.ensure(StoreRecord(size, kind), ledger):
        change.do()
        done.append(change.what)
    return done


def grow(file: FileStore, size: int, kind: str = "ext4") -> list[str]:
    """While it is mounted, where that is allowed."""
    try:
        return settle(file, size, kind)
    except OnestackError as problem:
        assert kind == "ext4" and "CAP_SYS_RESOURCE" in problem.why
        file.detach()
        done = settle(file, size, kind)
        file.attach()
        return done


def room(file: FileStore) -> int:
    state = os.statvfs(file.directory)
    return state.f_blocks * state.f_frsize


@needs_root
@pytest.mark.parametrize("kind", loopfile.KINDS)
def test_life(file: FileStore, kind: str) -> None:
    assert settle(file, kind=kind) == [
        f"make the store's file of 512M ({kind}) in {file.image.parent}"
    ]
    assert settle(file, kind=kind) == []
    info = file.image.stat()
    assert info.st_size == SIZE
    assert info.st_blocks * 512 < SIZE // 4
    assert info.st_mode & 0o777 == 0o600
    assert filesystem(file.image) == kind
    assert file.attach()[0].startswith(f"mounted {file.image} (/dev/loop")
    assert file.attach() == []
    before = room(file)
    (file.directory / "object").write_text("kept")
    # Attributes as long as swift's may be, on either.
    os.setxattr(file.directory / "object", "user.swift.metadata", b"x" * 20000)
    assert grow(file, 2 * SIZE, kind) == ["grow the store's file from 512M to 1G"]
    assert room(file) > before + SIZE // 2
    # A smaller answer changes nothing.
    assert settle(file, kind=kind) == []
    with (file.directory / "object").open():
        assert file.detach() == [f"{file.directory} is in use and stays mounted"]
    assert file.detach() == []
    assert not is_mounted(file.directory) and loop.device_of(file.image) is None
    # Grown while nobody has it mounted.
    assert settle(file, 3 * SIZE, kind)
    assert loop.device_of(file.image) is None
    file.attach()
    assert (file.directory / "object").read_text() == "kept"
    assert room(file) > before + SIZE


@needs_root
def test_a_run_that_was_killed_is_made_good(file: FileStore) -> None:
    file.image.parent.mkdir(exist_ok=True)
    file.image.with_name(".disk.img.part").write_text("half")
    file.image.write_text("whole, but not recorded")
    assert settle(file)
    file.attach()
    # Between the longer file and the larger filesystem.
    os.truncate(file.image, 2 * SIZE)
    before = room(file)
    assert grow(file, 2 * SIZE) == ["grow the store's file from 512M to 1G"]
    assert room(file) > before + SIZE // 2


@needs_root
def test_deleting_gives_the_disk_its_space_back(file: FileStore) -> None:
    settle(file)
    file.attach()
    (file.directory / "object").write_bytes(os.urandom(64 << 20))
    run(["sync", "-f", file.directory])
    full = file.image.stat().st_blocks * 512
    (file.directory / "object").unlink()
    # The filesystem's journal has to get around to it.
    file.detach()
    assert file.image.stat().st_blocks * 512 < full - (48 << 20)


@needs_root
def test_what_is_undone(file: FileStore) -> None:
    settle(file)
    file.attach()
    entries = Ledger(file.image.parent / "ledger.json").entries()
    for entry in reversed(entries):
        undo(entry, undos())
        undo(entry, undos())
    assert not is_mounted(file.directory) and loop.device_of(file.image) is None


@needs_root
def test_removal(file: FileStore) -> None:
    ledger = Ledger(file.image.parent / "ledger.json")
    assert not list(file.remove(ledger))
    settle(file)
    file.attach()
    with (file.directory / "object").open("w"):
        (change,) = file.remove(ledger)
        with pytest.raises(OnestackError, match="still in use"):
            change.do()
    for change in file.remove(ledger):
        change.do()
    assert not file.image.exists() and not ledger.entries()
    assert not list(file.remove(ledger))


@needs_root
def test_refusals(file: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(file)
    with pytest.raises(OnestackError, match="cannot become xfs"):
        settle(file, kind="xfs")
    with pytest.raises(OnestackError, match="too full") as caught:
        settle(file, 1 << 50)
    assert "THE_SIZE" in caught.value.cure
    file.image.rename(file.image.with_suffix(".away"))
    with pytest.raises(OnestackError, match="is gone"):
        settle(file)
    file.record.write_text("{}")
    with pytest.raises(OnestackError, match="cannot be read"):
        settle(file)
    file.record.unlink()
    with pytest.raises(OnestackError, match="is not there"):
        file.attach()
    monkeypatch.setattr(loop, "available", lambda: False)
    with pytest.raises(OnestackError, match="cannot hold"):
        settle(file)


def test_what_is_no_filesystem(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    assert filesystem(tmp_path / "disk") == ""
    (tmp_path / "short").write_bytes(b"x")
    assert filesystem(tmp_path / "short") == ""


@needs_root
def test_a_disk_recorded_before_goes_on(file: FileStore) -> None:
    settle(file)
    file.record.write_text('{"size": 536870912, "kind": "ext4"}')
    assert settle(file) == []
    assert file.known() == StoreRecord(SIZE, "ext4")
    file.attach()
    assert grow(file, 2 * SIZE) == ["grow the store's file from 512M to 1G"]


@needs_root
def test_facts(file: FileStore) -> None:
    assert file.facts() is None
    settle(file)
    facts = file.facts()
    assert facts is not None
    assert (facts.kind, facts.size, facts.place) == ("file", SIZE, str(file.image))
    assert 0 < facts.stored < SIZE // 4


@needs_root
def test_it_never_shrinks(file: FileStore) -> None:
    settle(file)
    with pytest.raises(OnestackError, match="cannot shrink"):
        file.grow(SIZE - 1)
