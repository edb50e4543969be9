"""The file pool: made, mounted, grown, found again. With real loop devices, as root."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onestack
from onestack.deploy.undo import undo, undos
from onestack.host.files import gid_of, uid_of
from onestack.host.ledger import Ledger
from onestack.kernel.mounts import is_mounted
from onestack.model.cloud import Cloud
from onestack.model.errors import NotInstalled, OnestackError
from onestack.storage import acl, allotment, attach, loop, loopfile, pool, reflink
from onestack.storage.filestore import FileStore
from onestack.storage.pool import Pool, image_size
from onestack.storage.store import Store, StoreRecord, load_record
from tests.support.needs import needs_root

USER = "daemon"
SIZE = 512 << 20
STORE = "onestack.storage.pool:Pool.at"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    # Not pytest's own place: a cloud's root is short.
    root = Path(tempfile.mkdtemp(prefix="pool-", dir="/var/tmp"))
    root.chmod(0o755)
    one = Cloud("pooltest", root)
    one.etc.mkdir()
    yield one
    while is_mounted(place_of(one).directory):
        subprocess.run(["umount", "--lazy", place_of(one).directory], check=True)
    loop.detach(place_of(one).image)
    shutil.rmtree(root)


def place_of(cloud: Cloud) -> Pool:
    return Pool.at(cloud.root, "CONFIG_CINDER_VOLUMES_SIZE", "CONFIG_CINDER_VOLUMES_SPARSE")


def settle(cloud: Cloud, size: int = SIZE, sparse: bool = True) -> list[str]:
    done = []
    for change in place_of(cloud).ensure(StoreRecord(size, "xfs", USER, sparse), Ledger.of(cloud)):
        change.do()
        done.append(change.what)
    return done


def as_user(script: str, *words: str | Path) -> str:
    """What a shell script says, run as the pool's user."""
    return subprocess.run(
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "sh", "-ec", script, "-"]
        + [str(word) for word in words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@needs_root
def test_made_once_and_mounted(cloud: Cloud) -> None:
    place = place_of(cloud)
    assert settle(cloud) == [f"make the volume pool of 512M (xfs) in {place.home}"]
    assert settle(cloud) == []
    assert not is_mounted(place.directory)
    assert len(place.attach()) == 2
    assert place.attach() == []
    info = place.directory.stat()
    assert (info.st_uid, info.st_gid) == (uid_of(USER), gid_of(USER))
    as_user('echo hello > "$1"/volume-1', place.directory)
    assert loop.device_of(place.image)


@needs_root
def test_disk_space_is_taken_at_once_unless_sparse(cloud: Cloud) -> None:
    image = place_of(cloud).image
    settle(cloud, sparse=False)
    assert image.stat().st_blocks * 512 >= image_size(SIZE)


@needs_root
def test_sparse_takes_little(cloud: Cloud) -> None:
    settle(cloud, sparse=True)
    place = place_of(cloud)
    taken = place.image.stat().st_blocks
    assert taken * 512 < 100 << 20
    place.attach()
    as_user('head -c 100M /dev/urandom > "$1"/volume-1; sync "$1"/volume-1', place.directory)
    assert place.image.stat().st_blocks * 512 > 100 << 20
    as_user('rm "$1"/volume-1', place.directory)
    # XFS gives blocks back after it has written its log: by itself within half a minute.
    within = time.monotonic() + 20
    while place.image.stat().st_blocks * 512 > 100 << 20:
        assert time.monotonic() < within, "the disk did not get it back"
        as_user('sync --file-system "$1"', place.directory)
        time.sleep(0.1)


@needs_root
def test_a_sparse_pool_takes_its_space_when_asked_to(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = place_of(cloud).image
    settle(cloud, sparse=True)
    with monkeypatch.context() as patch:
        patch.setattr(loopfile, "LEFT_FREE", 1 << 60)
        with pytest.raises(OnestackError, match="for the volume pool of 512M") as refused:
            settle(cloud, sparse=False)
        assert refused.value.cure == "free some space, or leave CONFIG_CINDER_VOLUMES_SPARSE=y"
    place_of(cloud).attach()
    as_user('echo kept > "$1"/volume-1', place_of(cloud).directory)
    assert settle(cloud, sparse=False) == ["take the volume pool's disk space"]
    assert settle(cloud, sparse=False) == []
    assert image.stat().st_blocks * 512 >= image_size(SIZE)
    assert (place_of(cloud).directory / "volume-1").read_text() == "kept\n"


@needs_root
def test_a_run_that_was_killed(cloud: Cloud) -> None:
    place = place_of(cloud)
    place.home.mkdir(parents=True)
    (place.home / ".cinder.img.part").write_bytes(b"half")
    settle(cloud)
    assert not (place.home / ".cinder.img.part").exists()
    # after the file was made and before the record was written
    place.attach()
    as_user('echo kept > "$1"/volume-1', place.directory)
    place.record.unlink()
    settle(cloud)
    assert place.known() == StoreRecord(SIZE, "xfs", USER, True)
    place.attach()
    assert (place.directory / "volume-1").read_text() == "kept\n"


@needs_root
def test_found_again_after_a_boot(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    assert attach.main([STORE, str(cloud.root)]) == 0
    as_user('echo kept > "$1"/volume-1', place.directory)
    subprocess.run(["umount", place.directory], check=True)
    loop.detach(place.image)
    assert attach.main([STORE, str(cloud.root)]) == 0
    assert (place.directory / "volume-1").read_text() == "kept\n"
    assert attach.main([STORE, str(cloud.root), "--detach"]) == 0
    assert not is_mounted(place.directory)
    assert loop.device_of(place.image) is None


def test_attach_without_a_pool_says_what_to_do(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attach.main([STORE, str(cloud.root)]) == 1
    assert "onestack up" in capsys.readouterr().err


@needs_root
def test_what_a_killed_look_left_is_no_obstacle(cloud: Cloud) -> None:
    """A mount for a while, of a run that was killed meanwhile."""
    place = place_of(cloud)
    settle(cloud)
    ends: tuple[Callable[[], object], ...] = (
        lambda: place_of(cloud).facts(),
        lambda: undo(Ledger.of(cloud).entries()[0], undos()),
    )
    for end in ends:
        left = place.home / f"{loopfile.MOUNT}left"
        left.mkdir()
        subprocess.run(["mount", loop.attach(place.image), left], check=True)
        end()
        assert not left.exists()
    assert not place.home.exists() and loop.device_of(place.image) is None


@needs_root
def test_in_use_it_stays_mounted(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    with open(place.directory / "volume-1", "w"):
        assert place.detach() == [f"{place.directory} is in use and stays mounted"]
        assert is_mounted(place.directory)
        assert attach.main([STORE, str(cloud.root), "--detach"]) == 0
    assert place.detach() == []


@needs_root
@pytest.mark.parametrize("mounted", [True, False])
def test_growth(cloud: Cloud, mounted: bool) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    as_user('echo kept > "$1"/volume-1', place.directory)
    before = os.statvfs(place.directory).f_blocks
    if not mounted:
        assert place.detach() == []
    place_of(cloud).grow(2 * SIZE)
    assert is_mounted(place.directory) == mounted
    assert (loop.device_of(place.image) is not None) == mounted
    place.attach()
    assert os.statvfs(place.directory).f_blocks > before + (SIZE - 1) // 4096
    assert (place.directory / "volume-1").read_text() == "kept\n"
    assert place.known().size == 2 * SIZE
    assert settle(cloud, SIZE) == []
    assert settle(cloud, 3 * SIZE) == ["grow the volume pool from 1G to 1536M"]


@needs_root
def test_growth_that_was_killed_is_completed(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    os.truncate(place.image, image_size(2 * SIZE))
    place_of(cloud).grow(2 * SIZE)
    state = os.statvfs(place.directory)
    assert state.f_bavail * state.f_frsize >= 2 * SIZE
    assert place.known().size == 2 * SIZE


@needs_root
def test_it_never_shrinks(cloud: Cloud) -> None:
    settle(cloud)
    with pytest.raises(OnestackError, match="cannot shrink"):
        place_of(cloud).grow(SIZE - 1)


@needs_root
def test_a_disk_too_full_is_found_before_anything_is_made(cloud: Cloud) -> None:
    with pytest.raises(OnestackError, match="too full") as caught:
        settle(cloud, 1 << 50, sparse=False)
    assert "CONFIG_CINDER_VOLUMES_SIZE" in caught.value.cure
    assert not place_of(cloud).home.exists()
    settle(cloud)
    length = place_of(cloud).image.stat().st_size
    with pytest.raises(OnestackError, match="too full"):
        place_of(cloud).grow(1 << 50)
    assert place_of(cloud).image.stat().st_size == length


@needs_root
def test_seen_from_another_mount_namespace(cloud: Cloud) -> None:
    """The supervisor may have mounts of its own; show and grow work from outside."""
    place = place_of(cloud)
    settle(cloud)
    # Mounts it in a namespace of its own, and says so; ends when its input does.
    script = (
        "import sys; from pathlib import Path; from onestack.storage import pool;"
        "p = pool.Pool.at(Path(sys.argv[1])); p.attach();"
        "(p.directory / 'volume-1').write_bytes(bytes(1 << 20));"
        "print('ready', flush=True); sys.stdin.read();"
        "import os; print(os.statvfs(p.directory).f_blocks)"
    )
    words = ["unshare", "--mount", "--propagation", "private", "python3", "-c", script]
    env = {**os.environ, "PYTHONPATH": str(Path(onestack.__file__).parents[1])}
    with subprocess.Popen(
        [*words, cloud.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert not is_mounted(place.directory)
        facts = place_of(cloud).facts()
        assert facts is not None
        assert (facts.volumes, facts.provisioned) == (1, 1 << 20)
        place_of(cloud).grow(2 * SIZE)
        out, _ = other.communicate("", timeout=30)
    assert int(out) * 4096 > 2 * SIZE
    assert not list(place.home.glob(".mount-*"))


@needs_root
def test_facts(cloud: Cloud) -> None:
    assert place_of(cloud).facts() is None
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    for name, size in (("volume-1", 100 << 20), ("volume-2", 50 << 20), ("snapshot-1", 10 << 20)):
        as_user(f'truncate -s {size} "$1/{name}"', place.directory)
    facts = place_of(cloud).facts()
    assert facts is not None
    assert (facts.kind, facts.volumes, facts.snapshots) == ("file", 2, 1)
    assert facts.provisioned == 160 << 20
    assert facts.free == SIZE - (160 << 20)
    # A restore writes it anew: nobody else gets its room.
    allotment.note(place.directory / "volume-1", 100 << 20)
    os.truncate(place.directory / "volume-1", 0)
    facts = place_of(cloud).facts()
    assert facts is not None
    assert facts.provisioned == 160 << 20
    assert facts.stored < 1 << 20
    assert facts.device.startswith("/dev/loop")


@needs_root
def test_files_that_are_to_be_managed_count(cloud: Cloud) -> None:
    """And go with the pool to a machine where its user has another number."""
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    folder = place.directory / pool.IMPORTS
    as_user('mkdir "$1"; chmod 0700 "$1"; truncate -s 100M "$1/disk.raw"', folder)
    facts = place.facts()
    assert facts is not None
    assert (facts.provisioned, facts.volumes, facts.snapshots) == (100 << 20, 0, 0)
    place.save(StoreRecord(SIZE, "xfs", "games", True))
    place.attach()
    assert {p.stat().st_uid for p in (folder, folder / "disk.raw")} == {uid_of("games")}
    assert folder.stat().st_mode & 0o777 == 0o700


@needs_root
def test_libvirt_may_give_files_away(cloud: Cloud) -> None:
    """Whoever owns a file, the pool's user still reads, writes, copies and removes it."""
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    file = place.directory / "volume-1"
    for uid, gid in ((0, 0), (12345, 12345)):
        as_user('umask 0117; echo mine > "$1"', file)
        os.chown(file, uid, gid)
        as_user('echo ours >> "$1"; cp --reflink=always "$1" "$1.copy"', file)
        assert as_user('cat "$1.copy"', file) == "mine\nours\n"
        as_user('rm "$1" "$1.copy"', file)
    assert file.parent.stat().st_mode & 0o777 == 0o711


@needs_root
def test_a_user_with_another_number_gets_it_all(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    file = place.directory / "volume-1"
    as_user('umask 0117; echo mine > "$1"', file)
    place.save(StoreRecord(SIZE, "xfs", "games", True))
    assert place.attach() == [f"gave {place.directory} to games"]
    assert file.stat().st_uid == uid_of("games")
    assert acl.inherited(place.directory, uid_of("games"))
    assert settle(cloud) == [f"give the volume pool to {USER}"]
    assert len(place.attach()) == 1


@needs_root
def test_who_serves_it_opens_it_too(cloud: Cloud) -> None:
    """What is there, also while a guest has it, and what is made later; no more once it ends."""
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    old, new = place.directory / "volume-old", place.directory / "volume-new"
    for path in (old, new):
        as_user('umask 0117; echo mine > "$1"', path)
    os.chown(old, uid_of("mail"), -1)
    new.unlink()
    place.save(dataclasses.replace(place.known(), server="games"))
    assert place.attach() == [f"gave {place.directory} to {USER}"]
    assert place.attach() == []
    as_user('umask 0117; echo mine > "$1"', new)
    words = (
        "setpriv",
        "--reuid=games",
        "--regid=games",
        "--clear-groups",
        "sh",
        "-c",
        'echo >>"$1"',
        "sh",
    )
    for path in (old, new):
        subprocess.run([*words, path], check=True)
    assert old.stat().st_uid == uid_of("mail")
    assert settle(cloud) == ["let nobody serve files of the volume pool"]
    assert len(place.attach()) == 1
    assert subprocess.run([*words, old], check=False, stderr=subprocess.DEVNULL).returncode


@needs_root
def test_the_ledger_undoes_it(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.attach()
    [entry] = Ledger.of(cloud).entries()
    with open(place.directory / "volume-1", "w"), pytest.raises(OnestackError, match="in use"):
        undo(entry, undos())
    undo(entry, undos())
    undo(entry, undos())
    assert not place.home.exists()
    assert not is_mounted(place.directory)


@needs_root
def test_removal(cloud: Cloud) -> None:
    place = place_of(cloud)
    assert list(place_of(cloud).remove(Ledger.of(cloud))) == []
    settle(cloud)
    place.attach()
    [change] = place_of(cloud).remove(Ledger.of(cloud))
    with open(place.directory / "volume-1", "w"), pytest.raises(OnestackError, match="in use"):
        change.do()
    change.do()
    assert not place.home.exists() and not is_mounted(place.directory)
    assert Ledger.of(cloud).entries() == []


@needs_root
def test_a_pool_whose_file_is_gone_is_not_made_anew(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.image.unlink()
    with pytest.raises(OnestackError, match="is gone"):
        settle(cloud)


@needs_root
def test_where_there_is_no_loop_device(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(cloud)
    place_of(cloud).attach()
    os.removexattr(place_of(cloud).directory, "system.posix_acl_default")
    inner = Cloud("inner", place_of(cloud).directory / "inner")
    monkeypatch.setattr(loopfile, "possible", lambda kind: False)
    monkeypatch.setattr(loopfile, "LEFT_FREE", 0)
    place = place_of(inner)
    for change in place_of(inner).ensure(StoreRecord(SIZE, "xfs", USER), Ledger.of(inner)):
        change.do()
    assert list(place_of(inner).ensure(StoreRecord(SIZE, "xfs", USER), Ledger.of(inner))) == []
    assert place.known() == StoreRecord(SIZE, "directory", USER, False)
    place.attach()
    as_user('echo hello > "$1"/volume-1', place.directory)
    facts = place_of(inner).facts()
    assert facts is not None
    assert (facts.kind, facts.volumes, facts.device) == ("directory", 1, "")
    assert place.detach() == []


def test_a_program_that_is_not_installed_yet_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run said that the machine could hold no pool, where xfsprogs was to be installed."""
    monkeypatch.setattr(loop, "available", lambda: True)
    monkeypatch.setattr(loopfile, "module_available", lambda kind: True)
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(NotInstalled, match="no xfs can be made"):
        loopfile.possible("xfs")
    monkeypatch.setattr(loop, "available", lambda: False)
    assert not loopfile.possible("xfs")


def test_where_no_pool_is_possible(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopfile, "possible", lambda kind: False)
    monkeypatch.setattr(reflink, "supported", lambda directory: False)
    with pytest.raises(OnestackError, match="cannot hold a volume pool") as caught:
        place_of(cloud).check(StoreRecord(SIZE, "xfs", USER))
    assert "modules loop and xfs" in caught.value.cure


def test_too_small(cloud: Cloud) -> None:
    with pytest.raises(OnestackError, match="too small"):
        place_of(cloud).check(StoreRecord(100 << 20, "xfs", USER))


@needs_root
@pytest.mark.parametrize("gib", [0.5, 1, 5, 20, 100, 1000])
def test_the_file_offers_what_it_should(tmp_path: Path, gib: float) -> None:
    size = int(gib * (1 << 30))
    place = Pool.at(tmp_path)
    place.home.mkdir(parents=True)
    place.file().make(image_size(size), pool.KIND)
    seen = tmp_path / "seen"
    seen.mkdir()
    subprocess.run(["mount", "-o", "loop", place.image, seen], check=True)
    try:
        state = os.statvfs(seen)
        assert size <= state.f_bavail * state.f_frsize < size * 1.05 + (512 << 20)
    finally:
        subprocess.run(["umount", seen], check=True)


def test_a_damaged_record(cloud: Cloud) -> None:
    place = place_of(cloud)
    place.home.mkdir(parents=True)
    place.record.write_text("{}")
    with pytest.raises(OnestackError, match="cannot be read") as caught:
        place.load()
    assert str(place.record) in caught.value.cure or "write" in caught.value.cure


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            '{"size": 536870912, "user": "daemon", "file": true, "sparse": true}',
            StoreRecord(SIZE, "xfs", USER, True),
        ),
        (
            '{"size": 536870912, "user": "daemon", "file": true}',
            StoreRecord(SIZE, "xfs", USER, False),
        ),
        (
            '{"size": 536870912, "user": "daemon", "file": false, "sparse": false}',
            StoreRecord(SIZE, "directory", USER, False),
        ),
    ],
)
def test_records_of_older_pools(cloud: Cloud, text: str, wanted: StoreRecord) -> None:
    place = place_of(cloud)
    place.home.mkdir(parents=True)
    place.record.write_text(text)
    assert place.known() == wanted
    place.save(place.known())
    assert place.known() == wanted
    # The driver reads this of it.
    assert json.loads(place.record.read_text())["size"] == SIZE


@needs_root
def test_a_pool_of_before_goes_on(cloud: Cloud) -> None:
    place = place_of(cloud)
    settle(cloud)
    place.record.write_text('{"size": 536870912, "user": "daemon", "file": true, "sparse": true}')
    assert settle(cloud) == []
    place.attach()
    as_user('echo kept > "$1"/volume-1', place.directory)
    assert settle(cloud, 2 * SIZE) == ["grow the volume pool from 512M to 1G"]
    assert place.known() == StoreRecord(2 * SIZE, "xfs", USER, True)
    assert (place.directory / "volume-1").read_text() == "kept\n"


@pytest.fixture
def inner(cloud: Cloud) -> Cloud:
    """A cloud whose root lies on a filesystem that shares blocks."""
    settle(cloud, 2 << 30)
    place_of(cloud).attach()
    one = Cloud("inner", place_of(cloud).directory / "inner")
    one.etc.mkdir(parents=True)
    return one


@needs_root
@pytest.mark.parametrize("mounted", [True, False])
def test_a_snapshot_is_a_moments_copy(
    cloud: Cloud, inner: Cloud, mounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopfile, "LEFT_FREE", 0)
    place, copy = place_of(inner), inner.root / "copy"
    settle(inner)
    place.attach()
    (place.directory / "volume-1").write_text("then")
    if not mounted:
        assert place.detach() == []
    before = place_of(cloud).directory
    free = os.statvfs(before).f_bfree
    place.snapshot(copy)
    assert free - os.statvfs(before).f_bfree < 1000
    assert sorted(path.name for path in copy.iterdir()) == ["cinder.img", "pool.json"]
    assert (copy / "cinder.img").stat().st_mode & 0o777 == 0o600
    assert is_mounted(place.directory) == mounted
    place.attach()
    (place.directory / "volume-1").write_text("now")
    # Both at once: a copy has the same filesystem's name.
    other = Pool(copy / "cinder.img", inner.root / "seen", copy / "pool.json", "the copy")
    try:
        other.attach()
        assert (other.directory / "volume-1").read_text() == "then"
        with pytest.raises(OnestackError, match="cannot be copied"):
            place.snapshot(copy)
    finally:
        assert other.detach() == [] and place.detach() == []


@needs_root
def test_a_snapshot_of_a_plain_directory(inner: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopfile, "possible", lambda kind: False)
    monkeypatch.setattr(loopfile, "LEFT_FREE", 0)
    place, copy = place_of(inner), inner.root / "copy"
    settle(inner)
    place.attach()
    (place.directory / "volume-1").write_text("then")
    place.snapshot(copy)
    (place.directory / "volume-1").write_text("now")
    assert (copy / "volume-1").read_text() == "then"
    assert load_record(copy / "pool.json", "the copy") == place.known()


@needs_root
def test_where_blocks_cannot_be_shared_no_snapshot_is_made(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(cloud)

    def unable(*given: object, **more: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(reflink, "clone", unable)
    with pytest.raises(OnestackError, match="cannot be copied in a moment") as caught:
        place_of(cloud).snapshot(cloud.root / "copy")
    assert "XFS or btrfs" in caught.value.cure
    assert not list(cloud.root.glob("*copy*"))


def test_both_are_stores(tmp_path: Path) -> None:
    stores: tuple[Store, ...] = (
        Pool.at(tmp_path),
        FileStore(tmp_path / "a", tmp_path / "b", tmp_path / "c", "a disk"),
    )
    methods = ("check", "ensure", "attach", "detach", "grow", "remove", "facts", "snapshot")
    assert all(callable(getattr(store, name)) for store in stores for name in methods)


def test_an_unknown_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        attach.main(["onestack.storage.pool:Nothing", str(tmp_path)])
