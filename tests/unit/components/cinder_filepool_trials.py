"""Trials of the volume driver, run by the services' own Python (see test_cinder_filepool.py).

``python cinder_filepool_trials.py POOL RECORD TRIAL...``, as the volume service's user.
Each trial is a function here that takes a driver; it raises when something is wrong.
"""
# ruff: noqa: E402 -- cinder must be told to use native threads before anything else of it

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
from cinder import monkey_patch

monkey_patch.patch()

from cinder import exception, objects, privsep
from cinder.image import image_utils
from cinder.interface import volume_driver, volume_snapshot_revert
from cinder.volume import configuration
from os_brick.initiator import connector
from oslo_config import cfg

from onestack.components.cinder.inside import filepool

GIB = 1 << 30
CONTEXT = SimpleNamespace(user_id="user", project_id="project")


def make_driver(pool: str, record: str) -> filepool.FilePoolDriver:
    scratch = tempfile.mkdtemp(prefix="trial-")
    file = Path(scratch, "cinder.conf")
    file.write_text(
        f"[DEFAULT]\nstate_path={scratch}\nimage_conversion_dir={scratch}\n"
        f"[oslo_concurrency]\nlock_path={scratch}\n"
        f"[pool]\nvolume_backend_name=pool\nfilepool_directory={pool}\nfilepool_record={record}\n"
    )
    # What cinder does as root in a process apart, here in this one: reading a file suffices.
    privsep.sys_admin_pctxt.set_client_mode(False)
    objects.register_all()
    cfg.CONF(["--config-file", str(file)], project="cinder")
    driver = filepool.FilePoolDriver(
        configuration=configuration.Configuration(filepool.OPTIONS, config_group="pool"),
        host="here@pool",
    )
    driver.do_setup(None)
    driver.check_for_setup_error()
    driver.set_initialized()
    return driver


def volume(size: int) -> Any:
    identity = str(uuid.uuid4())
    return SimpleNamespace(
        id=identity,
        name=f"volume-{identity}",
        size=size,
        encryption_key_id=None,
        glance_metadata={},
        volume_type=SimpleNamespace(extra_specs={}),
    )


def snapshot(of: Any) -> Any:
    identity = str(uuid.uuid4())
    return SimpleNamespace(id=identity, name=f"snapshot-{identity}", volume=of, volume_size=of.size)


def write(driver: Any, thing: Any, data: bytes, at: int = 0) -> None:
    with open(driver.local_path(thing), "r+b") as file:
        file.seek(at)
        file.write(data)


def read(driver: Any, thing: Any, count: int, at: int = 0) -> bytes:
    with open(driver.local_path(thing), "rb") as file:
        file.seek(at)
        return file.read(count)


def free(driver: Any) -> float:
    return float(driver.get_volume_stats(refresh=True)["pools"][0]["free_capacity_gb"])


def refused(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except exception.VolumeBackendAPIException as problem:
        return str(problem)
    raise AssertionError("it was not refused")


# Trials


def follows_cinders_interface(driver: Any) -> None:
    assert isinstance(driver, volume_driver.VolumeDriverCore)
    assert isinstance(driver, volume_snapshot_revert.VolumeSnapshotRevertDriver)
    assert driver.supported


def life_of_a_volume(driver: Any) -> None:
    before = free(driver)
    one = volume(2)
    driver.create_volume(one)
    path = Path(driver.local_path(one))
    assert path.stat().st_size == 2 * GIB
    assert path.stat().st_blocks < 100, "a new volume is not sparse"
    assert round(before - free(driver), 2) == 2
    driver.extend_volume(one, 3)
    assert path.stat().st_size == 3 * GIB
    driver.create_volume(one)  # again, as after a kill
    assert path.stat().st_size == 2 * GIB
    driver.delete_volume(one)
    driver.delete_volume(one)  # again, as after a kill
    assert not path.exists()
    assert free(driver) == before


def volumes_grow_in_use(driver: Any) -> None:
    """The file grows under whoever has it open; one that is larger already is never cut."""
    assert driver.get_volume_stats(refresh=True)["pools"][0]["online_extend_support"] is True
    one = volume(1)
    driver.create_volume(one)
    write(driver, one, b"mine", GIB - 4)
    with open(driver.local_path(one), "r+b") as guest:
        driver.extend_volume(one, 2)
        assert os.fstat(guest.fileno()).st_size == 2 * GIB, "it is another file now"
    assert read(driver, one, 8, GIB - 4) == b"mine\0\0\0\0"
    # An attempt that was cut short before cinder noted it, and that a guest has seen since.
    os.truncate(driver.local_path(one), 4 * GIB)
    write(driver, one, b"late", 4 * GIB - 4)
    driver.extend_volume(one, 3)
    one.size = 3
    driver.terminate_connection(one, {})
    assert read(driver, one, 4, 4 * GIB - 4) == b"late"
    driver.delete_volume(one)


def snapshots_and_clones(driver: Any) -> None:
    one, two, three = volume(1), volume(1), volume(2)
    driver.create_volume(one)
    write(driver, one, b"first")
    shot = snapshot(one)
    driver.create_snapshot(shot)
    write(driver, one, b"later")
    driver.create_cloned_volume(two, one)
    driver.create_volume_from_snapshot(three, shot)
    assert read(driver, two, 5) == b"later"
    assert read(driver, three, 5) == b"first"
    assert Path(driver.local_path(three)).stat().st_size == 2 * GIB
    write(driver, three, b"third")
    driver.revert_to_snapshot(None, one, shot)
    assert read(driver, one, 5) == b"first"
    driver.delete_snapshot(shot)
    assert read(driver, one, 5) == b"first"
    for each in (one, two, three):
        driver.delete_volume(each)


SECRET = b"the first tenant's words. " * 40


def nobody_reads_what_was_deleted(driver: Any) -> None:
    """However a volume is made or grows: blocks that another one had hold zeros in it."""
    base = volume(1)
    driver.create_volume(base)
    write(driver, base, b"base", GIB - 4)
    shot = snapshot(base)
    driver.create_snapshot(shot)
    store = Images("raw")
    driver.copy_volume_to_image(CONTEXT, base, store, store.meta)

    def blank(new: Any) -> None:
        driver.create_volume(new)

    def of_a_snapshot(new: Any) -> None:
        driver.create_volume_from_snapshot(new, shot)

    def of_a_volume(new: Any) -> None:
        driver.create_cloned_volume(new, base)

    def of_an_image(new: Any) -> None:
        driver.create_volume(new)
        driver.copy_image_to_volume(CONTEXT, new, store, store.meta["id"])

    def grown(new: Any) -> None:
        new.size = 1
        driver.create_volume(new)
        driver.extend_volume(new, 2)

    def reverted(new: Any) -> None:
        """It had words of its own in what it has grown by since."""
        driver.create_volume(new)
        write(driver, new, SECRET, 2 * GIB - (1 << 20))
        driver.revert_to_snapshot(None, new, shot)

    for make in (blank, of_a_snapshot, of_a_volume, of_an_image, grown, reverted):
        first = volume(2)
        driver.create_volume(first)
        with open(driver.local_path(first), "r+b") as file:
            for at in range(0, 2 * GIB, 16 << 20):
                file.seek(at)
                file.write(SECRET * 64)
            os.fsync(file.fileno())
        driver.delete_volume(first)
        second = volume(2)
        make(second)
        path = Path(driver.local_path(second))
        # What a guest writes takes the blocks that are free now, and only some bytes of each.
        for at in range(5000, 2 * GIB, 32 << 20):
            write(driver, second, b"x", at)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            for start, end in written(file.fileno()):
                file.seek(start)
                assert SECRET[:20] not in file.read(end - start), make.__name__
            file.seek(5001)
            assert not any(file.read(1 << 16)), make.__name__
        assert path.stat().st_size == 2 * GIB, make.__name__
        driver.delete_volume(second)
    driver.delete_snapshot(shot)
    driver.delete_volume(base)


def written(descriptor: int) -> Iterator[tuple[int, int]]:
    """Parts of a file that are no holes."""
    end = 0
    with contextlib.suppress(OSError):  # no more
        while True:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            yield start, end


def the_pool_is_never_overdrawn(driver: Any) -> None:
    record = json.loads(driver._record.read_text())
    size = record["size"] // GIB
    big = volume(size + 1)
    assert "onestack pool grow" in refused(driver.create_volume, big)
    assert not Path(driver.local_path(big)).exists()
    most = volume(size - 1)
    driver.create_volume(most)
    shot, two = snapshot(most), volume(size - 1)
    refused(driver.create_snapshot, shot)
    refused(driver.create_cloned_volume, two, most)
    refused(driver.extend_volume, most, size + 1)
    driver.extend_volume(most, size)
    stats = driver.get_volume_stats(refresh=True)["pools"][0]
    assert stats["free_capacity_gb"] == 0
    assert stats["provisioned_capacity_gb"] == stats["total_capacity_gb"] == size
    driver.delete_volume(most)


def images(driver: Any) -> None:
    """Out as raw and as qcow2, and back in."""
    one = volume(1)
    driver.create_volume(one)
    write(driver, one, b"boot", 4096)
    for kind in ("raw", "qcow2"):
        store = Images(kind)
        driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
        assert store.head()
        two = volume(2)
        driver.create_volume(two)
        driver.copy_image_to_volume(CONTEXT, two, store, store.meta["id"])
        path = Path(driver.local_path(two))
        assert read(driver, two, 4, 4096) == b"boot"
        assert path.stat().st_size == 2 * GIB
        assert path.stat().st_blocks < 4096, "the volume is not sparse"
        assert path.stat().st_mode & 0o777 == 0o660
        driver.delete_volume(two)
    driver.delete_volume(one)
    assert not list(driver._directory.glob(".*.part"))


class Images:
    """As much of cinder's image service as the driver's helpers ask for."""

    def __init__(self, kind: str) -> None:
        self.file = Path(tempfile.mkdtemp(prefix="trial-"), "image")
        self.temp_images = None
        self.meta = {
            "id": str(uuid.uuid4()),
            "name": "image",
            "disk_format": kind,
            "container_format": "bare",
            "size": 0,
            "properties": {},
            "min_disk": 0,
        }

    def head(self) -> bytes:
        with self.file.open("rb") as file:
            return file.read(8192)

    def show(self, context: Any, identity: str) -> dict[str, Any]:
        return self.meta

    def update(self, context: Any, identity: str, meta: Any, data: Any = None, **more: Any) -> None:
        # All of it is read, as by a client; a gigabyte of nothing takes no place here.
        with self.file.open("wb") as file:
            while block := data.read(1 << 20):
                if block.count(0) == len(block):
                    file.seek(len(block), os.SEEK_CUR)
                else:
                    file.write(block)
            file.truncate()

    def download(self, context: Any, identity: str, file: Any) -> None:
        with self.file.open("rb") as image:
            while block := image.read(1 << 20):
                file.write(block)

    def get_location(self, context: Any, identity: str) -> tuple[None, None]:
        return None, None


def images_are_looked_at_without_privileges(driver: Any) -> None:
    """Cinder's own check of an image, which it runs by sudo and rootwrap."""
    one = volume(1)
    driver.create_volume(one)
    store = Images("qcow2")
    driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
    with image_utils.TemporaryImages.fetch(store, CONTEXT, store.meta["id"]) as path:
        assert Path(path).stat().st_uid == os.getuid()
    driver.delete_volume(one)


def connections_are_local_files(driver: Any) -> None:
    one = volume(1)
    driver.create_volume(one)
    answer = driver.initialize_connection(one, {})
    kind = answer["driver_volume_type"]
    brick = connector.InitiatorConnector.factory(kind, "")
    assert brick.connect_volume(answer["data"])["path"] == driver.local_path(one)
    driver.terminate_connection(one, {})
    driver.delete_volume(one)


def several_servers_have_a_volume(driver: Any) -> None:
    """QEMU's own locks on the file, as libvirt asks for them: shared, or for one alone."""
    assert driver.get_volume_stats(refresh=True)["pools"][0]["multiattach"] is True
    one = volume(1)
    driver.create_volume(one)
    first, second = (driver.initialize_connection(one, {"host": h}) for h in ("a", "b"))
    assert first == second
    path = first["data"]["device_path"]
    owner, access = os.stat(path).st_uid, os.getxattr(path, "system.posix_acl_access")
    with opened(path, shared=True) as (a, b):
        assert a.poll() is None and b.poll() is None, "two guests cannot have it"
        # One goes. The other keeps its hand on the same file.
        inode = os.stat(path).st_ino
        driver.terminate_connection(one, {"host": "a"})
        now = os.stat(path)
        assert (now.st_ino, now.st_uid, now.st_size) == (inode, owner, GIB)
        assert os.getxattr(path, "system.posix_acl_access") == access
    with opened(path, shared=False) as (a, b):
        assert {a.poll() is None, b.poll() is None} == {True, False}, "nothing guards it"
    driver.delete_volume(one)


@contextlib.contextmanager
def opened(path: str, *, shared: bool) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two QEMUs that have the file as guests have it (stopped), or end because they are refused.

    ``shared`` is what libvirt makes of ``<shareable/>``: others may write as well.
    """
    node = {"driver": "raw", "node-name": "n", "file": {"driver": "file", "filename": path}}
    device = f"virtio-blk-pci,drive=n,share-rw={'on' if shared else 'off'}"
    words = ["qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"]
    words += ["-m", "16", "-blockdev", json.dumps(node), "-device", device, "-qmp"]
    made = []
    with tempfile.TemporaryDirectory() as place:
        try:
            for number in range(2):
                monitor = f"{place}/{number}"
                qmp = [f"unix:{monitor},server=on,wait=off"]
                made.append(subprocess.Popen([*words, *qmp], stderr=subprocess.DEVNULL))
                _until_it_speaks(made[-1], monitor)
            yield made
        finally:
            for process in made:
                process.kill()
                process.wait()


def _until_it_speaks(process: subprocess.Popen[bytes], monitor: str) -> None:
    """Or has ended: it greets at once, and answers when all of its devices are there."""
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
            line.settimeout(60)
            line.connect(monitor)
            line.sendall(b'{"execute": "qmp_capabilities"}')
            answer = b""
            while more := line.recv(4096):
                answer += more
                if b'"return"' in answer:
                    return
        time.sleep(0.05)


def encrypted_volumes_are_refused(driver: Any) -> None:
    one = volume(1)
    one.encryption_key_id = str(uuid.uuid4())
    assert "encrypted" in refused(driver.create_volume, one)


def make_for_libvirt(driver: Any) -> None:
    """First half of what libvirt does to a file: made here, given away by the test (as root)."""
    one = volume(1)
    one.name = "volume-given-away"
    driver.create_volume(one)
    write(driver, one, b"mine")


def use_after_libvirt(driver: Any) -> None:
    """The second half: the file is another's now."""
    one, two = volume(1), volume(1)
    one.name = "volume-given-away"
    assert Path(driver.local_path(one)).stat().st_uid != os.getuid()
    assert read(driver, one, 4) == b"mine"
    write(driver, one, b"ours")
    shot = snapshot(one)
    driver.create_snapshot(shot)
    driver.create_cloned_volume(two, one)
    store = Images("raw")
    driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
    assert store.head()[:4] == b"ours"
    driver.extend_volume(one, 2)
    driver.revert_to_snapshot(None, one, shot)
    driver.delete_snapshot(shot)
    driver.delete_volume(one)
    driver.delete_volume(two)


def unmounted_is_noticed(driver: Any) -> None:
    driver._directory, mounted = Path(tempfile.mkdtemp(prefix="trial-")), driver._directory
    for call in (driver.check_for_setup_error, driver._update_volume_stats):
        assert "not mounted" in refused(call)
    refused(driver.create_volume, volume(1))
    driver._directory = mounted


def measure(driver: Any) -> dict[str, float]:
    """Milliseconds; asserts none."""
    figures: dict[str, float] = {}

    def timed(name: str, call: Any, *arguments: Any) -> None:
        started = time.monotonic()
        call(*arguments)
        figures[name] = round((time.monotonic() - started) * 1000, 1)

    large, one, two, three = volume(50), volume(1), volume(1), volume(1)
    shot = snapshot(one)
    timed("create 50 GiB", driver.create_volume, large)
    driver.create_volume(one)
    with open(driver.local_path(one), "r+b") as file:
        block = os.urandom(1 << 20)
        for _ in range(512):
            file.write(block)
        os.fsync(file.fileno())
    timed("snapshot of 512 MiB", driver.create_snapshot, shot)
    timed("clone of 512 MiB", driver.create_cloned_volume, two, one)
    timed("volume from snapshot of 512 MiB", driver.create_volume_from_snapshot, three, shot)
    timed("revert to snapshot of 512 MiB", driver.revert_to_snapshot, None, one, shot)
    timed("extend", driver.extend_volume, two, 2)
    timed("statistics", driver._update_volume_stats)
    timed("delete 512 MiB", driver.delete_volume, two)
    for each in (large, one, three):
        driver.delete_volume(each)
    driver.delete_snapshot(shot)
    return figures


TRIALS = {
    call.__name__: call
    for call in (
        follows_cinders_interface,
        life_of_a_volume,
        volumes_grow_in_use,
        snapshots_and_clones,
        nobody_reads_what_was_deleted,
        the_pool_is_never_overdrawn,
        images,
        images_are_looked_at_without_privileges,
        connections_are_local_files,
        several_servers_have_a_volume,
        encrypted_volumes_are_refused,
        make_for_libvirt,
        use_after_libvirt,
        unmounted_is_noticed,
        measure,
    )
}


def main(pool: str, record: str, *names: str) -> None:
    """Run the trials ``names``; prints for each, as JSON, what went wrong or its figures."""
    driver = make_driver(pool, record)
    outcome: dict[str, Any] = {}
    for name in names:
        started = time.monotonic()
        try:
            outcome[name] = {"figures": TRIALS[name](driver)}
            outcome[name]["seconds"] = round(time.monotonic() - started, 2)
        except Exception:  # noqa: BLE001
            outcome[name] = {"trouble": traceback.format_exc()}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
