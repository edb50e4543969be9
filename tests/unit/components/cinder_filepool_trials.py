"""Trials of the volume driver, run by the services' own Python (see test_cinder_filepool.py).

``python cinder_filepool_trials.py POOL RECORD SCRATCH TRIAL...``, as the volume service's user.
Each trial is a function here that takes a driver; it raises when something is wrong.
"""
# ruff: noqa: E402 -- cinder must be told to use native threads before anything else of it

from __future__ import annotations

import contextlib
import errno
import functools
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
from unittest import mock

# As cinder's services have it.
os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
os.environ["EVENTLET_THREADPOOL_SIZE"] = "0"
from cinder import monkey_patch

monkey_patch.patch()

from cinder import objects

objects.register_all()

import castellan.key_manager
from castellan.common.exception import ManagedObjectNotFoundError
from castellan.common.objects import symmetric_key
from castellan.key_manager import key_manager
from cinder import context, coordination, exception, privsep, quota, rpc
from cinder.db import api as database
from cinder.db import models
from cinder.image import image_utils
from cinder.interface import volume_driver, volume_snapshot_revert
from cinder.volume import configuration, manager, rpcapi, volume_utils
from os_brick.initiator import connector
from oslo_config import cfg

from onestack.components.cinder.inside import (
    filepool,
    luks,
    messages,
    unfinished,
)
from onestack.components.cinder.inside.refusals import Refused
from onestack.storage import nbd, reflink

GIB = 1 << 30
CONTEXT = context.RequestContext(user_id="user", project_id="project", is_admin=False)
HERE = "here@pool#pool"


def make_driver(pool: str, record: str, scratch: str) -> filepool.FilePoolDriver:
    """Whatever is made beside the pool is in ``scratch``, an empty folder."""
    file = Path(scratch, "cinder.conf")
    others = ""
    if place := os.environ.get("SERVED"):
        others = f"filepool_hosts={place}/hosts.json\nfilepool_exports={place}/exports\n"
    file.write_text(
        f"[DEFAULT]\nstate_path={scratch}\nimage_conversion_dir={scratch}\n"
        f"transport_url=fake:/\n[coordination]\nbackend_url=file://{scratch}\n"
        f"[oslo_concurrency]\nlock_path={scratch}\n"
        f"[database]\nconnection=sqlite:///{scratch}/cinder.sqlite\n"
        f"[pool]\nvolume_backend_name=pool\nfilepool_directory={pool}\nfilepool_record={record}\n"
        "volume_driver=onestack.components.cinder.inside.filepool.FilePoolDriver\n"
        f"{others}"
    )
    # What cinder does as root in a process apart, here in this one: reading a file suffices.
    privsep.sys_admin_pctxt.set_client_mode(False)
    cfg.CONF(["--config-file", str(file)], project="cinder")
    models.BASE.metadata.create_all(database.get_engine())
    database.volume_type_create(context.get_admin_context(), {"name": "__DEFAULT__"})
    rpc.init(cfg.CONF)
    coordination.COORDINATOR.start()
    messages.know()
    messages.read_figures()
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
        name_id=identity,
        project_id="project",
        obj_context=CONTEXT,
        host=HERE,
        migration_status=None,
        volume_attachment=[],
    )


def known(**values: Any) -> Any:
    """A volume as cinder has it, in its database."""
    made = objects.Volume(
        context.get_admin_context(),
        **{"size": 1, "status": "available", "host": HERE, "project_id": "project", **values},
    )
    made.create()
    return made


def read_messages(identity: str) -> list[str]:
    """What the API tells of a volume, for those of its project."""
    from cinder.api.v3 import messages as controllers

    controller = controllers.MessagesController(None)
    kept = controller.message_api.get_all(CONTEXT, filters={"resource_uuid": identity})
    for message in kept:
        controller._build_user_message(message)
    return [message["user_message"] for message in kept]


def snapshot(of: Any) -> Any:
    identity = str(uuid.uuid4())
    return SimpleNamespace(
        id=identity,
        name=f"snapshot-{identity}",
        volume=of,
        volume_size=of.size,
        encryption_key_id=of.encryption_key_id,
        project_id="project",
        obj_context=CONTEXT,
    )


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
        has_nothing_of_others(driver, second, make.__name__)
        driver.delete_volume(second)
    driver.delete_snapshot(shot)
    driver.delete_volume(base)


def has_nothing_of_others(driver: Any, thing: Any, made: str) -> None:
    # What a guest writes takes the blocks that are free now, and only some bytes of each.
    for at in range(5000, 2 * GIB, 32 << 20):
        write(driver, thing, b"x", at)
    path = Path(driver.local_path(thing))
    assert path.stat().st_size == 2 * GIB, made
    with path.open("rb") as image:
        os.fsync(image.fileno())
        for start, end in written(image.fileno()):
            image.seek(start)
            assert SECRET[:20] not in image.read(end - start), made
        image.seek(5001)
        assert not any(image.read(1 << 16)), made


def written(descriptor: int) -> Iterator[tuple[int, int]]:
    """Parts of a file that are no holes."""
    end = 0
    with contextlib.suppress(OSError):  # no more
        while True:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            yield start, end


def the_pool_is_never_overdrawn(driver: Any) -> None:
    record = json.loads(driver._files.record.read_text())
    size = record["size"] // GIB
    big = volume(size + 1)
    assert "onestack pool grow" in refused(driver.create_volume, big)
    (text,) = read_messages(big.id)
    assert f"{size + 1}.0 GiB are wanted, and the pool has {size}.0 GiB free" in text, text
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


def a_volume_that_is_cut_keeps_its_room(driver: Any) -> None:
    """As cinder's backup service does when it restores, and dd when it migrates."""
    size = json.loads(driver._files.record.read_text())["size"] // GIB
    one = known(size=size - 5)
    driver.create_volume(one)
    path = Path(driver.local_path(one))
    device = driver.initialize_connection(one, {})["data"]["device_path"]
    with open(device, "wb"):
        assert path.stat().st_size == 0
        assert free(driver) == 5
        other = volume(size - 5)
        assert "the pool has 5.0 GiB free" in refused(driver.create_volume, other)
        shot = snapshot(one)
        assert "GiB are wanted" in refused(driver.create_snapshot, shot)
    # It was killed in between: the volume is whole at the next start.
    driver.update_provider_info([one], [])
    assert path.stat().st_size == (size - 5) * GIB
    for call in (driver.terminate_connection, driver.initialize_connection):
        os.truncate(path, 0)
        call(one, {})
        assert path.stat().st_size == (size - 5) * GIB
    driver.extend_volume(one, size)
    assert free(driver) == 0
    driver.delete_volume(one)
    one.destroy()


def what_is_copied_beside_counts(driver: Any) -> None:
    """As long as it is there: uploads of volumes that servers have, and images anew."""
    size = json.loads(driver._files.record.read_text())["size"] // GIB
    one, store = volume(size - 20), Images("raw")
    driver.create_volume(one)
    seen: list[float] = []

    def look(*arguments: Any, **more: Any) -> None:
        seen.append(free(driver))

    upload = mock.patch.object(volume_utils, "upload_volume", look)
    fetch = mock.patch.object(image_utils, "fetch_to_raw", look)
    with upload, fetch:
        driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
        assert seen.pop() == 20, "nobody writes to it"
        one.volume_attachment = ["a server's"]
        said = refused(driver.copy_volume_to_image, CONTEXT, one, store, store.meta)
        assert "the pool has 20.0 GiB free" in said and not seen
        assert any("20.0 GiB free" in text for text in read_messages(one.id))
        two = volume(5)
        two.volume_attachment = one.volume_attachment
        driver.create_volume(two)
        driver.copy_volume_to_image(CONTEXT, two, store, store.meta)
        assert seen.pop() == 10 and free(driver) == 15
        driver.copy_image_to_volume(CONTEXT, two, store, store.meta["id"])
        assert seen.pop() == 15, "its own share is enough"
        with open(driver.local_path(two), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, GIB)
        driver.copy_image_to_volume(CONTEXT, two, store, store.meta["id"])
        assert round(15 - seen.pop(), 1) == 1, "the old blocks are there until it is whole"
        assert free(driver) == 15
    driver.delete_volume(one)
    driver.delete_volume(two)
    assert not list(driver._files.directory.glob(".*.part"))


def a_full_pool_is_still_served(driver: Any) -> None:
    """Or nobody could delete anything."""
    for problem in (errno.ENOSPC, errno.EDQUOT):
        full = OSError(problem, "full")
        with mock.patch.object(reflink, "supported", side_effect=full):
            driver.check_for_setup_error()
    with mock.patch.object(reflink, "supported", side_effect=OSError(errno.EIO, "bad")):
        assert "cannot be written" in refused(driver.check_for_setup_error)


def reverts_are_whole(driver: Any) -> None:
    """Killed at any point: the volume is as before or as its snapshot, with its own size."""
    one = volume(1)
    driver.create_volume(one)
    write(driver, one, b"first")
    shot = snapshot(one)
    driver.create_snapshot(shot)
    driver.extend_volume(one, 2)
    one.size = 2
    write(driver, one, b"later")
    fresh = os.stat(driver.local_path(shot))
    path, replace = driver.local_path(one), os.replace
    left = []
    for when in ("before", "after"):

        def killed(*arguments: Any, when: str = when) -> None:
            if when == "after":
                replace(*arguments)
            os._exit(9)

        if not (child := os.fork()):
            mock.patch.object(os, "replace", killed).start()
            driver.revert_to_snapshot(None, one, shot)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert read(driver, one, 5) == {"before": b"later", "after": b"first"}[when]
        assert os.stat(path).st_size == 2 * GIB
        left += [p.name for p in driver._files.directory.glob(".*.part")]
        driver.do_setup(None)
        assert not list(driver._files.directory.glob(".*.part"))
    assert len(left) == 1, left
    now = os.stat(path)
    assert (now.st_uid, now.st_mode) == (fresh.st_uid, fresh.st_mode)
    access = "system.posix_acl_access"
    assert os.getxattr(path, access) == os.getxattr(driver.local_path(shot), access)
    driver.delete_snapshot(shot)
    driver.delete_volume(one)


def only_what_was_left_is_swept(driver: Any) -> None:
    one = volume(1)
    driver.create_volume(one)
    there = sorted(p.name for p in driver._files.directory.iterdir())
    for name in (f".{one.name}.part", ".image-volume-1.part", ".upload-2.part"):
        Path(driver._files.directory, name).write_text("half")
    driver.do_setup(None)
    assert sorted(p.name for p in driver._files.directory.iterdir()) == there
    driver.delete_volume(one)


def what_was_interrupted_ends_at_the_start(driver: Any) -> None:
    one, two, three = (known(status="extending") for _ in range(3))
    other = known(status="reverting")
    for each in (one, two, three, other):
        driver.create_volume(each)
    # killed before it was noted, in a guest, and where a guest has seen it
    for each in (one, two, three):
        os.truncate(driver.local_path(each), 2 * GIB)
    database.volume_attach(
        context.get_admin_context(),
        {"volume_id": two.id, "attach_status": "attached", "instance_uuid": str(uuid.uuid4())},
    )
    write(driver, three, b"seen", 2 * GIB - 4)
    shot = objects.Snapshot(
        context.get_admin_context(), volume_id=other.id, volume_size=1, project_id="project"
    )
    shot.create()
    write(driver, other, b"first")
    driver.create_snapshot(shot)
    shot.status = "restoring"
    shot.save()
    write(driver, other, b"later")

    admin = context.get_admin_context()
    answer = driver.update_provider_info(
        objects.VolumeList.get_all(admin), objects.SnapshotList.get_all(admin, {})
    )
    assert answer == (None, None)
    for each in (one, two, three, other, shot):
        each.refresh()
    assert [v.status for v in (one, two, three)] == ["available", "in-use", "available"]
    sizes = [os.stat(driver.local_path(v)).st_size for v in (one, two, three)]
    assert sizes == [GIB, GIB, 2 * GIB], sizes
    assert (other.status, shot.status) == ("available", "available")
    assert read(driver, other, 5) == b"first"
    driver.delete_snapshot(shot)
    for each in (one, two, three, other):
        driver.delete_volume(each)
        each.destroy()


@contextlib.contextmanager
def service_of(driver: Any) -> Iterator[Any]:
    """Upstream's manager of volumes, as the volume service has it, with the driver."""
    made = manager.VolumeManager(host="here@pool", service_name="pool")
    made.driver = driver
    driver.db = database
    calls = (
        *("extend_volume", "revert_to_snapshot", "retype", "migrate_volume"),
        *("manage_existing", "delete_snapshot", "init_host"),
    )
    kept = {name: getattr(manager.VolumeManager, name) for name in calls}
    messages.tell_of_retypes()
    unfinished.finish_at_start()
    unfinished.heed_what_is_settled()
    try:
        yield made
    finally:
        for name, call in kept.items():
            setattr(manager.VolumeManager, name, call)


def quota_held() -> dict[str, int]:
    kept = quota.QUOTAS.get_project_quotas(context.get_admin_context(), "project")
    return {name: kept[name]["reserved"] for name in ("gigabytes", "volumes", "snapshots")}


def shot_of(one: Any, status: str, **more: Any) -> Any:
    made = objects.Snapshot(
        context.get_admin_context(),
        **{"volume_id": one.id, "volume_size": one.size, "project_id": "project", **more},
    )
    made.create()
    made.status = status
    made.save()
    return made


def a_start_ends_what_was_interrupted(driver: Any) -> None:
    """All that a kill has left, by the service's own start; what waited is not done again."""
    admin = context.get_admin_context()
    source = known()
    driver.create_volume(source)
    write(driver, source, b"mine")
    deleting, restoring = shot_of(source, "deleting"), shot_of(source, "restoring")
    giving, temporary = shot_of(source, "unmanaging"), shot_of(source, "creating", use_quota=False)
    for each in (deleting, restoring, giving, temporary):
        driver.create_snapshot(each)
    source.update({"status": "backing-up", "previous_status": "in-use"})
    source.save()
    backup = objects.Backup(
        context.RequestContext(user_id="user", project_id="project", is_admin=True),
        volume_id=source.id,
        status="creating",
        project_id="project",
        user_id="user",
        host="here",
    )
    backup.create()
    # taken, and not noted; given already, and not noted
    taken, given = known(size=0, status="managing"), known(status="unmanaging")
    for each in (taken, given):
        Path(driver.local_path(each)).write_bytes(each.id.encode())
    driver.unmanage(given)
    retyped = known(status="retyping", previous_status="available")
    moved = known(migration_status="migrating")
    copy = known(migration_status=f"target:{moved.id}", use_quota=False)
    # A server has it: nova may be copying it, and says when that ends.
    used = known(status="retyping", previous_status="in-use", migration_status="migrating")
    attached = {"volume_id": used.id, "attach_status": "attached"}
    database.volume_attach(admin, {**attached, "instance_uuid": str(uuid.uuid4())})
    kept = known(migration_status=f"target:{used.id}", use_quota=False)
    lost = known(migration_status=f"target:{uuid.uuid4()}", use_quota=False)
    for each in (moved, copy, kept, lost):
        driver.create_volume(each)

    folder = driver._imports.directory
    with service_of(driver) as service, mock.patch.object(rpcapi, "VolumeAPI") as api:
        service.init_host(service_id=1)
        (asked,) = api.return_value.delete_volume.call_args_list
        assert asked.args[1].id == copy.id
        service.delete_volume(admin, copy)
        # The messages, which came before.
        service.delete_snapshot(admin, deleting)
        service.manage_existing(admin, taken, {"source-name": "x"})
        service.migrate_volume(admin, moved, {"host": "here@nfs#nfs"})
    for gone in (deleting, giving, temporary, given, copy, lost):
        assert gone.id not in str([*objects.VolumeList.get_all(admin)]), gone.id
        assert not database.resource_exists(admin, type(gone).model, gone.id), gone
        assert not Path(driver.local_path(gone)).exists()
    for each in (source, restoring, taken, retyped, moved, used, kept, backup):
        each.refresh()
    assert restoring.status == "available"
    assert (source.status, backup.status) == ("in-use", "error")
    assert (taken.status, taken.size) == ("error", 0)
    assert "ask for it again" in " ".join(read_messages(taken.id))
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        thing.name for thing in (giving, taken, given)
    )
    assert (folder / taken.name).read_bytes() == taken.id.encode()
    assert (retyped.status, moved.status, moved.migration_status) == (
        *("available", "available"),
        "error",
    )
    (text,) = read_messages(retyped.id)
    assert text.startswith("change the type of a volume:The volume service ended"), text
    assert (used.status, kept.status) == ("retyping", "available")
    driver.delete_volume(taken)  # as the user does, who asks again
    assert (folder / taken.name).exists()
    for left in folder.iterdir():
        left.unlink()
    driver.delete_snapshot(restoring)
    restoring.destroy()
    backup.destroy()
    for each in (source, taken, retyped, moved, used, kept):
        driver.delete_volume(each)
        each.destroy()


def what_waited_is_not_done_again(driver: Any) -> None:
    """And quota that was held for what a kill has ended is free."""
    admin = context.get_admin_context()
    one = known()
    driver.create_volume(one)
    write(driver, one, b"first")
    shot = shot_of(one, "available")
    driver.create_snapshot(shot)
    with service_of(driver) as service:
        one.status, shot.status = "reverting", "restoring"
        one.save()
        shot.save()
        service.init_host(service_id=1)
        write(driver, one, b"later")
        service.revert_to_snapshot(admin, one, shot)
        assert read(driver, one, 5) == b"later", "a guest has written this since"
        for each in (one, shot):
            each.refresh()
        assert (one.status, shot.status) == ("available", "available")

        def reserve(**more: int) -> list[str]:
            return list(quota.QUOTAS.reserve(admin, project_id="project", **more))

        def extend(**outcome: Any) -> None:
            one.status = "extending"
            one.save()
            with mock.patch.object(driver, "extend_volume", **outcome):
                service.extend_volume(admin, one, 3, reserve(gigabytes=2))

        class Killed(BaseException):
            pass

        # It was begun, and killed: where `finally` does nothing.
        delete = mock.patch.object(database, "volume_admin_metadata_delete")
        with contextlib.suppress(Killed), delete:
            extend(side_effect=Killed)
        assert quota_held()["gigabytes"] == 2
        service.init_host(service_id=1)
        one.refresh()
        assert (one.status, one.size) == ("available", 1)
        assert quota_held()["gigabytes"] == 0
        assert read_messages(one.id)[0].startswith("extend volume:The volume service ended")
        # It waited.
        service.extend_volume(admin, one, 3, reserve(gigabytes=2))
        assert quota_held()["gigabytes"] == 0
        words = (
            one.volume_type_id,
            {"host": HERE},
            "never",
            reserve(volumes=1),
            reserve(gigabytes=1),
        )
        service.retype(admin, one, *words)
        assert set(quota_held().values()) == {0}
        one.refresh()
        assert (one.status, one.size) == ("available", 1)
        other = database.volume_type_create(admin, {"name": "other"})["id"]
        one.update({"status": "retyping", "previous_status": "available"})
        one.save()
        more = {"reservations": reserve(volumes=1), "old_reservations": reserve(volumes=-1)}
        service.retype(admin, volume=one, new_type_id=other, host={"host": HERE}, **more)
        one.refresh()
        assert (one.status, one.volume_type_id) == ("available", other)
        assert set(quota_held().values()) == {0}
        extend()
        one.refresh()
        assert (one.status, one.size, quota_held()["gigabytes"]) == ("available", 3, 0)
        assert not database.volume_admin_metadata_get(admin, one.id)
    driver.delete_snapshot(shot)
    shot.destroy()
    driver.delete_volume(one)
    one.destroy()


def retypes_and_moves(driver: Any) -> None:
    """To a type of this back-end, and from another: no two volumes ever mean one file."""
    one = known(host="here@nfs#nfs", migration_status="completing")
    copy = known(migration_status=f"target:{one.id}")
    driver.create_volume(copy)
    write(driver, copy, b"moved")
    assert driver.retype(None, copy, None, {"encryption": {}}, None) == (True, None)
    update = driver.update_migrated_volume(None, one, copy, "available")
    assert update == driver.update_migrated_volume(None, one, copy, "available"), "once more"
    one.update(update)
    one.save()
    assert read(driver, one, 5) == b"moved"
    # What is left of the copy, if all ends here, is deleted by whoever finds it.
    driver.delete_volume(copy)
    assert read(driver, one, 5) == b"moved"
    try:
        driver.update_migrated_volume(None, known(), copy, "available")
    except exception.VolumeBackendAPIException:
        pass
    else:
        raise AssertionError("it would take the place of its own original")

    # A guest has the copy open: the file keeps its name, and is the volume's all the same.
    used = known(host="here@nfs#nfs", status="in-use")
    copy = known(migration_status=f"target:{used.id}")
    driver.create_volume(copy)
    write(driver, copy, b"used")
    used.update(driver.update_migrated_volume(None, used, copy, "in-use"))
    used.save()
    driver.delete_volume(copy)
    assert read(driver, used, 4) == b"used"
    used.host = HERE
    used.save()
    driver.delete_volume(used)
    driver.delete_volume(one)
    for each in objects.VolumeList.get_all(context.get_admin_context()):
        each.destroy()


def files_of_the_folder_are_managed(driver: Any) -> None:
    folder = driver._imports.directory
    assert folder.stat().st_mode & 0o777 == 0o700
    before = free(driver)
    (folder / "one.raw").write_bytes(b"mine" * 1000)
    os.truncate(folder / "one.raw", GIB + 1)
    reference = {"source-name": "one.raw"}
    one = volume(2)
    assert [e["reference"] for e in manageable(driver)] == [reference]
    assert driver.manage_existing_get_size(one, reference) == 2
    assert before - free(driver) == 1, "it counts"
    driver.manage_existing(one, reference)
    assert read(driver, one, 4) == b"mine" and not any(folder.iterdir())
    info = os.stat(driver.local_path(one))
    assert (info.st_size, info.st_uid, info.st_mode & 0o777) == (2 * GIB, os.getuid(), 0o660)
    assert before - free(driver) == 2

    driver.unmanage(one)
    driver.unmanage(one)  # again, as after a kill
    assert not Path(driver.local_path(one)).exists()
    two, shot = volume(2), snapshot(one)
    driver.manage_existing(two, {"source-name": one.name})
    assert read(driver, two, 4) == b"mine"
    driver.create_snapshot(shot_of_two := snapshot(two))
    driver.unmanage_snapshot(shot_of_two)
    given = {"source-name": shot_of_two.name}
    assert driver.manage_existing_snapshot_get_size(shot, given) == 2
    driver.manage_existing_snapshot(shot, given)
    assert read(driver, shot, 4) == b"mine"

    for thing, size_of in (
        (volume(1), driver.manage_existing_get_size),
        (snapshot(two), driver.manage_existing_snapshot_get_size),
    ):
        try:
            size_of(thing, {"source-name": "gone"})
        except exception.ManageExistingInvalidReference:
            (text,) = read_messages(thing.id)
            assert "No file of that name" in text, text
        else:
            raise AssertionError("it has none")

    outside = Path(cfg.CONF.state_path, "secret")
    outside.write_text("others'")
    (folder / "link").symlink_to(outside)
    (folder / "empty").touch()
    (folder / "inner").mkdir()
    for name in ("../" + two.name, f"{folder}/one", "link", "empty", "inner", ".pool", "", "gone"):
        for wrong in ({"source-name": name}, {"source-id": "one.raw"}):
            try:
                driver.manage_existing(volume(1), wrong)
            except exception.ManageExistingInvalidReference as problem:
                assert "source-name" in str(problem) or str(folder) in str(problem)
            else:
                raise AssertionError(f"{wrong} was taken")
    unsafe = driver.get_manageable_volumes([], None, 1000, 0, ["reference"], ["asc"])
    assert [entry["reference"]["source-name"] for entry in unsafe] == ["empty", "inner", "link"]
    assert not any(entry["safe_to_manage"] for entry in unsafe)
    assert "is empty" in unsafe[0]["reason_not_safe"]
    (folder / "link").unlink()
    (folder / "empty").unlink()
    (folder / "inner").rmdir()
    driver.delete_snapshot(shot)
    driver.delete_volume(two)


def manageable(driver: Any) -> list[Any]:
    found = driver.get_manageable_volumes([], None, 1000, 0, ["reference"], ["asc"])
    assert all(entry["safe_to_manage"] for entry in found)
    return list(found)


def a_backup_without_room_ends(driver: Any) -> None:
    """Of a volume in use: cinder would leave it and its volume at it for ever."""
    driver.db = database
    one = known(size=40, status="backing-up", previous_status="in-use")
    driver.create_volume(one)
    backup = objects.Backup(
        context.RequestContext(user_id="user", project_id="project", is_admin=True),
        volume_id=one.id,
        status="creating",
        project_id="project",
        user_id="user",
        host="here",
    )
    backup.create()
    assert driver.backup_use_temp_snapshot()
    assert "40.0 GiB are wanted" in refused(driver.get_backup_device, CONTEXT, backup)
    for each in (one, backup):
        each.refresh()
    assert (one.status, backup.status) == ("in-use", "error")
    assert "onestack pool grow" in backup.fail_reason
    assert any("40.0 GiB are wanted" in text for text in read_messages(backup.id))
    admin = context.get_admin_context()
    assert not objects.SnapshotList.get_all(admin, {"volume_id": one.id})

    # With room, a snapshot is what is read.
    database.volume_update(admin, one.id, {"status": "backing-up", "size": 5})
    os.truncate(driver.local_path(one), 5 * GIB)
    backup.status = "creating"
    device, is_snapshot = driver.get_backup_device(CONTEXT, backup)
    assert is_snapshot and device.id == backup.temp_snapshot_id
    data = driver.initialize_connection_snapshot(device, {})["data"]
    assert Path(data["device_path"]).stat().st_size == 5 * GIB
    driver.delete_snapshot(device)
    driver.delete_volume(one)
    device.destroy()
    one.destroy()


def a_backup_that_fails_ends(driver: Any) -> None:
    """Whatever it was: here the file is not there."""
    driver.db = database
    admin = context.get_admin_context()
    one = known(status="backing-up", previous_status="in-use")
    shot = objects.Snapshot(admin, volume_id=one.id, volume_size=1, project_id="project")
    shot.status = "backing-up"
    shot.create()
    made = [
        objects.Backup(
            context.RequestContext(user_id="user", project_id="project", is_admin=True),
            status="creating",
            project_id="project",
            user_id="user",
            host="here",
            volume_id=volume_id,
            snapshot_id=snapshot_id,
        )
        for volume_id, snapshot_id in ((one.id, None), (one.id, shot.id))
    ]
    for backup in made:
        backup.create()
    try:
        driver.get_backup_device(CONTEXT, made[0])
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("there was nothing to be read")
    no = exception.SnapshotNotFound(snapshot_id=shot.id)
    gone = mock.patch.object(driver, "_get_backup_volume_temp_snapshot", side_effect=no)
    with gone, contextlib.suppress(exception.SnapshotNotFound):
        driver.get_backup_device(CONTEXT, made[1])
    for each in (one, shot, *made):
        each.refresh()
    assert [each.status for each in (one, shot, *made)] == [
        *("in-use", "available"),
        *("error", "error"),
    ]
    for backup in made:
        (text,) = read_messages(backup.id)
        assert "onestack logs cinder-volume" in text, text
        backup.destroy()
    assert objects.SnapshotList.get_all(admin, {"volume_id": one.id}).objects == [shot]
    shot.destroy()
    one.destroy()


def a_users_container_is_a_folder_of_the_projects(driver: Any) -> None:
    from cinder.backup.drivers import posix

    from onestack.components.cinder.inside.backup_files import FilesBackupDriver

    with tempfile.TemporaryDirectory() as place:
        cfg.CONF.set_override("backup_posix_path", place)
        made = FilesBackupDriver(CONTEXT)
        backup = {"id": str(uuid.uuid4()), "project_id": "project"}
        upstream = posix.PosixBackupDriver.update_container_name(made, backup, None)
        assert made.update_container_name(backup, None) == upstream
        assert made.update_container_name(backup, "of-mine") == "project/of-mine"
        for wrong in ("/etc", "../x", "a/b", "..", ".", "", "a" * 200, "a\nb"):
            try:
                made.update_container_name(backup, wrong)
            except exception.InvalidInput:
                continue
            raise AssertionError(f"{wrong!r} was taken")
        # Upstream alone takes it for a path.
        assert posix.PosixBackupDriver.update_container_name(made, backup, "/etc") == "/etc"


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
    assert not list(driver._files.directory.glob(".*.part"))


class Images:
    """As much of cinder's image service as the driver's helpers ask for."""

    def __init__(self, kind: str) -> None:
        self.file = Path(cfg.CONF.state_path, f"image-{uuid.uuid4()}")
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


def _asked(told: dict[str, Any], command: str) -> bool:
    """Whether a QEMU on web1 can do that with the volume as nova is told of it."""
    assert told["driver_volume_type"] == "nbd"
    data, place = told["data"], os.environ["SERVED"]
    disk = f"driver=nbd,host={data['hosts'][0]},port={data['ports'][0]},export={data['name']}"
    done = subprocess.run(
        [
            *("qemu-io", "--object", f"tls-creds-x509,id=tls,dir={place}/web1,endpoint=client"),
            *("--image-opts", f"{disk},tls-creds=tls", "-c", command),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0


def volumes_are_served_to_other_hosts(driver: Any) -> None:
    one = volume(1)
    driver.create_volume(one)
    for here in ({}, {"host": "here"}, {"host": "none-of-the-clouds"}):
        assert driver.initialize_connection(one, here)["driver_volume_type"] == "gpfs"
    there = {"host": "web1"}
    told = driver.initialize_connection(one, there)
    assert driver.initialize_connection(one, there) == told
    assert _asked(told, "write -P 7 8k 4k")
    assert Path(driver.local_path(one)).read_bytes()[8192:12288] == b"\7" * 4096
    # a snapshot of what a guest over there has written
    shot = snapshot(one)
    driver.create_snapshot(shot)
    assert Path(driver.local_path(shot)).read_bytes()[8192:12288] == b"\7" * 4096
    driver.delete_snapshot(shot)
    assert not _asked(told, "write -P 7 1G 4k")
    driver.extend_volume(one, 2)
    one.size = 2
    assert _asked(told, "write -P 7 1G 4k")
    # two servers of one host have it
    one.volume_attachment = [SimpleNamespace(attached_host="web1", connector=there)] * 2
    assert driver.terminate_connection(one, there) is True
    assert _asked(told, "read 0 4k")
    one.volume_attachment.pop()
    # ... and one of this host, which ends
    assert driver.terminate_connection(one, {"host": "here"}) is False
    assert _asked(told, "read 0 4k")
    assert driver.terminate_connection(one, there) is False
    assert not _asked(told, "read 0 4k")
    again = driver.initialize_connection(one, there)
    assert again["data"]["name"] != told["data"]["name"]
    one.status = "in-use"
    driver.update_provider_info([one], [])
    assert _asked(again, "read 0 4k")
    # what is attached to no server any more, as cinder has it at its start
    one.volume_attachment = []
    driver.update_provider_info([one], [])
    assert not _asked(again, "read 0 4k")
    again = driver.initialize_connection(one, there)
    driver.terminate_connection(one, None)
    assert not _asked(again, "read 0 4k")
    driver.initialize_connection(one, there)
    driver.delete_volume(one)
    assert not any(Path(os.environ["SERVED"], "exports").glob("*/*"))


def what_is_not_served_is_told(driver: Any) -> None:
    """The daemon of that host is not there."""
    one = volume(1)
    driver.create_volume(one)
    try:
        driver.initialize_connection(one, {"host": "web2"})
        raise AssertionError("it was attached")
    except Refused as problem:
        assert "cinder-nbd-web2" in str(problem)
    (said,) = read_messages(one.id)
    assert "cinder-nbd-web2" in said, said
    # cinder asks no driver to end what was not attached
    assert not any(Path(os.environ["SERVED"], "exports").glob("*/*"))
    driver.delete_volume(one)


def what_is_replaced_is_served_no_more(driver: Any) -> None:
    """A daemon would go on with a file that has no name any more, and a guest write there."""
    one, there = volume(1), {"host": "web1"}
    driver.create_volume(one)
    shot = snapshot(one)
    driver.create_snapshot(shot)
    store = Images("raw")
    driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
    for replace in (
        functools.partial(driver.revert_to_snapshot, None, one, shot),
        functools.partial(driver.copy_image_to_volume, CONTEXT, one, store, store.meta["id"]),
    ):
        left = driver.initialize_connection(one, there)
        replace()
        assert not _asked(left, "read 0 4k")
        again = driver.initialize_connection(one, there)
        assert _asked(again, "write -P 9 8k 4k")
        assert Path(driver.local_path(one)).read_bytes()[8192:12288] == b"\11" * 4096
    driver.delete_snapshot(shot)
    driver.delete_volume(one)


def what_stays_is_ended_later(driver: Any) -> None:
    """Two servers on one host that give up a volume at once, each of which counts the other."""
    exports, there = driver._served._exports, {"host": "web1"}
    given_up, kept, begun, unknown = made = [volume(1) for _ in range(4)]
    told = {}
    for one in made:
        driver.create_volume(one)
        told[one.id] = driver.initialize_connection(one, there)
    attachment = SimpleNamespace(attached_host="web1", connector=there)
    given_up.volume_attachment = [attachment] * 2
    for _ in range(2):
        assert driver.terminate_connection(given_up, there) is True
    for one in (given_up, kept):
        os.utime(Path(os.environ["SERVED"], "exports", "id-of-web1", f"{one.id}.json"), (0, 0))
    objects.VolumeAttachment(
        context.get_admin_context(),
        volume_id=kept.id,
        attached_host="web1",
        attach_status="attached",
    ).create()
    # a daemon that did not say in time that it has ended it
    exports.forget("id-of-web1", unknown.id)
    driver.get_volume_stats(refresh=True)
    assert [_asked(told[one.id], "read 0 4k") for one in made] == [False, True, True, False]
    assert {e.volume for e in exports.of_host("id-of-web1")} == {kept.id, begun.id}
    # asked for again, it counts anew: cinder writes it down a moment later
    os.utime(Path(os.environ["SERVED"], "exports", "id-of-web1", f"{begun.id}.json"), (0, 0))
    assert driver.initialize_connection(begun, there) == told[begun.id]
    driver.get_volume_stats(refresh=True)
    assert _asked(told[begun.id], "read 0 4k")
    for one in made:
        driver.delete_volume(one)


def nobody_waits_for_a_daemon_that_is_dead(driver: Any) -> None:
    """Its host's volumes grow and go; one that serves on, and does not do it, is another matter."""
    one, exports = volume(1), driver._served._exports
    driver.create_volume(one)
    exports.granted("id-of-web2", "web2", one.id, driver.path(one))
    driver.extend_volume(one, 2)
    one.size = 2
    assert Path(driver.local_path(one)).stat().st_size == 2 * GIB
    driver.terminate_connection(one, {"host": "web2"})
    assert not exports.of_volume(one.id)
    exports.granted("id-of-web2", "web2", one.id, driver.path(one))
    driver.delete_volume(one)
    assert not exports.of_volume(one.id)
    two = volume(1)
    driver.create_volume(two)
    told = driver.initialize_connection(two, {"host": "web1"})
    with mock.patch.object(nbd.Monitor, "end", side_effect=nbd.NotServed("it does not end")):
        try:
            driver.delete_volume(two)
            raise AssertionError("it was deleted, and is served")
        except Refused as problem:
            assert "cinder-nbd-web1" in str(problem)
    assert _asked(told, "read 0 4k") and exports.of_volume(two.id)
    driver.delete_volume(two)


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


KEY = bytes(range(32))
KEY_ID = str(uuid.UUID(int=7))
CIPHER = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256}


@contextlib.contextmanager
def keys(how: dict[str, Any] = CIPHER) -> Iterator[None]:
    """A key manager with one key, and a volume type whose volumes are encrypted like this."""
    manager = mock.create_autospec(key_manager.KeyManager, instance=True)

    def get(context: Any, identity: str) -> Any:
        if identity != KEY_ID:
            raise ManagedObjectNotFoundError(uuid=identity)
        return symmetric_key.SymmetricKey("AES", 256, KEY)

    manager.get.side_effect = get
    with (
        mock.patch.object(castellan.key_manager, "API", return_value=manager),
        mock.patch.object(database, "volume_encryption_metadata_get", return_value=dict(how)),
    ):
        yield


def encrypted(size: int) -> Any:
    made = volume(size)
    made.encryption_key_id = KEY_ID
    return made


def as_guest(driver: Any, thing: Any, *command: str) -> str:
    """What QEMU reads and writes when it has the volume's key, as nova gives it to libvirt."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(KEY.hex())
        file.flush()
        image = (
            f"driver=luks,key-secret=k,file.driver=file,file.filename={driver.local_path(thing)}"
        )
        secret = f"secret,id=k,format=raw,file={file.name}"
        words = ["qemu-io", "--object", secret, "--image-opts", image]
        for one in command:
            words += ["-c", one]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def volumes_are_encrypted(driver: Any) -> None:
    """Blank, grown, snapshots and clones: with the volume's key, and of the volume's size."""
    before = free(driver)
    with keys():
        one = encrypted(1)
        driver.create_volume(one)
        info = os.stat(driver.local_path(one))
        assert (info.st_size, info.st_mode & 0o777) == (GIB, 0o660)
        assert info.st_blocks < 8192, "it is not sparse"
        assert read(driver, one, 6) == b"LUKS\xba\xbe"
        # Nova takes the header from the size when it tells a guest that a volume has grown.
        header = luks._offset(Path(driver.local_path(one)))
        assert 0 < header <= 2 << 20
        last = GIB - header - 4096
        as_guest(driver, one, "write -P 0x5a 0 4096", f"write -P 0x5c {last} 4096")
        with open(driver.local_path(one), "rb") as file:
            assert b"\x5a" * 64 not in file.read(8 << 20)
        driver.extend_volume(one, 2)
        one.size = 2
        as_guest(driver, one, "read -P 0x5a 0 4096", f"write -P 0x5b {GIB} 4096")
        shot, two, three = snapshot(one), encrypted(2), encrypted(3)
        driver.create_snapshot(shot)
        as_guest(driver, one, "write -P 0x11 0 4096")
        driver.create_cloned_volume(two, one)
        driver.create_volume_from_snapshot(three, shot)
        as_guest(driver, two, "read -P 0x11 0 4096")
        as_guest(driver, three, "read -P 0x5a 0 4096", f"read -P 0x5b {GIB} 4096")
        driver.revert_to_snapshot(None, one, shot)
        as_guest(driver, one, "read -P 0x5a 0 4096")
        # Its content is not the type's: nova would take it for one that is new, and format it.
        plain = volume(2)
        assert "encrypted" in refused(driver.create_cloned_volume, plain, one)
        assert "encrypted" in refused(driver.create_volume_from_snapshot, plain, shot)
        driver.create_volume(plain)
        assert "encrypted" in refused(driver.create_cloned_volume, encrypted(2), plain)
        assert "is made of encrypted ones" in " ".join(read_messages(plain.id))
        assert "stays in the pool" in refused(driver.before_volume_copy, None, one, plain)
        (text,) = read_messages(one.id)
        assert text.startswith("move a volume:"), text
    driver.delete_snapshot(shot)
    for each in (one, two, three, plain):
        driver.delete_volume(each)
    assert free(driver) == before


def images_become_encrypted_volumes(driver: Any) -> None:
    one, store = volume(1), Images("raw")
    driver.create_volume(one)
    write(driver, one, b"\x77" * 4096, 1 << 20)
    os.truncate(driver.local_path(one), 64 << 20)
    driver.copy_volume_to_image(CONTEXT, one, store, store.meta)
    with keys():
        two = encrypted(1)
        driver.create_volume(two)
        driver.copy_image_to_encrypted_volume(CONTEXT, two, store, store.meta["id"])
        info = os.stat(driver.local_path(two))
        assert (info.st_size, info.st_mode & 0o777) == (GIB, 0o660)
        as_guest(driver, two, "read -P 0x77 1M 4096", "read -P 0 8M 32M")
        with open(driver.local_path(two), "rb") as file:
            assert b"\x77" * 64 not in file.read(64 << 20)
        # Once more into the same volume: nothing is left of what it had.
        as_guest(driver, two, "write -P 0x33 512M 4096")
        driver.copy_image_to_encrypted_volume(CONTEXT, two, store, store.meta["id"])
        as_guest(driver, two, "read -P 0x77 1M 4096")
        with open(driver.local_path(two), "rb") as file:
            assert max(end for _, end in written(file.fileno())) <= (64 + 2) << 20

        # Back out as it is, and in again with the same key.
        kept = Images("raw")
        driver.copy_volume_to_image(CONTEXT, two, kept, kept.meta)
        assert kept.head()[:4] == b"LUKS"
        three = encrypted(2)
        driver.create_cloned_volume(three, two)
        driver.copy_image_to_volume(CONTEXT, three, kept, kept.meta["id"])
        as_guest(driver, three, "read -P 0x77 1M 4096")
        assert os.stat(driver.local_path(three)).st_size == 2 * GIB

        # A disk of just the volume's size has no room behind the header.
        os.truncate(store.file, GIB)
        four = encrypted(1)
        driver.create_cloned_volume(four, two)
        said = refused(
            driver.copy_image_to_encrypted_volume, CONTEXT, four, store, store.meta["id"]
        )
        assert "1.0 GiB" in said and "ask for 2 GiB" in said, said
        assert any("ask for 2 GiB" in text for text in read_messages(four.id))
    for each in (one, two, three, four):
        driver.delete_volume(each)
    assert not list(driver._files.directory.glob(".*.part"))


def what_cannot_be_encrypted_is_told(driver: Any) -> None:
    one = encrypted(1)
    with keys({**CIPHER, "provider": "luks2"}):
        assert "provider luks" in refused(driver.create_volume, one)
    one.encryption_key_id = str(uuid.UUID(int=8))
    with keys():
        assert "key manager" in refused(driver.create_volume, one)
    assert [text.partition(":")[2][:9] for text in read_messages(one.id)] == [
        "The key m",
        "Volumes a",
    ]
    assert not Path(driver.local_path(one)).exists()
    assert not list(driver._files.directory.glob(".*.part"))


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
    driver.initialize_connection(one, {})
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
    files = driver._files
    files.directory, mounted = Path(cfg.CONF.state_path, "nothing"), files.directory
    files.directory.mkdir()
    for call in (driver.check_for_setup_error, driver._update_volume_stats):
        assert "not mounted" in refused(call)
    refused(driver.create_volume, volume(1))
    files.directory = mounted


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
        a_volume_that_is_cut_keeps_its_room,
        what_is_copied_beside_counts,
        a_full_pool_is_still_served,
        reverts_are_whole,
        only_what_was_left_is_swept,
        what_was_interrupted_ends_at_the_start,
        a_start_ends_what_was_interrupted,
        what_waited_is_not_done_again,
        retypes_and_moves,
        files_of_the_folder_are_managed,
        a_backup_without_room_ends,
        a_backup_that_fails_ends,
        a_users_container_is_a_folder_of_the_projects,
        images,
        images_are_looked_at_without_privileges,
        connections_are_local_files,
        several_servers_have_a_volume,
        volumes_are_served_to_other_hosts,
        what_is_not_served_is_told,
        what_is_replaced_is_served_no_more,
        what_stays_is_ended_later,
        nobody_waits_for_a_daemon_that_is_dead,
        volumes_are_encrypted,
        images_become_encrypted_volumes,
        what_cannot_be_encrypted_is_told,
        make_for_libvirt,
        use_after_libvirt,
        unmounted_is_noticed,
        measure,
    )
}


def main(pool: str, record: str, scratch: str, *names: str) -> None:
    """Run the trials ``names``; prints for each, as JSON, what went wrong or its figures."""
    driver = make_driver(pool, record, scratch)
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
