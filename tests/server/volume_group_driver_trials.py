"""Trials of the volume group's driver, by cinder's user (see volume_group_trials.py)."""
# ruff: noqa: E402 -- cinder must be told to use native threads before anything else of it

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
os.environ["EVENTLET_THREADPOOL_SIZE"] = "0"
from cinder import monkey_patch

monkey_patch.patch()

from cinder import context, exception, objects, privsep
from cinder.scheduler.filters import capacity_filter
from cinder.volume import configuration, volume_utils
from oslo_config import cfg

from onestack.components.cinder.inside import volume_group

HERE = Path(__file__).resolve().parent
TOLD = json.loads((HERE / "told.json").read_text())
GROUP = TOLD["group"]
CONTEXT = context.RequestContext(user_id="user", project_id="project", is_admin=False)
CHUNK, MARKED = 64 << 10, 8 << 20
KEPT = "11111111-2222-3333-4444-555555555555"
"""Made by `volume_group_trials.a_volume_is_kept`."""
MARK = b"another tenant's secret " * 8


class Thing(dict[str, Any]):
    """A volume or snapshot, as much as drivers ask of one."""

    __getattr__ = dict.get


def make_driver() -> volume_group.VolumeGroupDriver:
    scratch = tempfile.mkdtemp(prefix="trial-")
    file = Path(scratch, "cinder.conf")
    section = "".join(f"{name}={value}\n" for name, value in TOLD["section"].items())
    file.write_text(
        f"[DEFAULT]\nstate_path={scratch}\nimage_conversion_dir={scratch}\nhost=here\n"
        f"[oslo_concurrency]\nlock_path={scratch}\n[lvm]\n{section}"
    )
    privsep.sys_admin_pctxt.set_client_mode(False)
    objects.register_all()
    cfg.CONF(["--config-file", str(file)], project="cinder")
    own = configuration.Configuration(volume_group.OPTIONS, config_group="lvm")
    made = volume_group.VolumeGroupDriver(configuration=own, host="here@lvm")
    made.do_setup(None)
    made.check_for_setup_error()
    made.set_initialized()
    return made


def volume(size: int = 1) -> Any:
    identity = str(uuid.uuid4())
    return Thing(
        id=identity,
        name=f"volume-{identity}",
        size=size,
        volume_attachment=[],
        multiattach=False,
        encryption_key_id=None,
    )


def snapshot(of: Any) -> Any:
    identity = str(uuid.uuid4())
    return Thing(
        id=identity,
        name=f"snapshot-{identity}",
        volume_name=of.name,
        volume_size=of.size,
        volume=of,
    )


def path(driver: Any, of: Any) -> str:
    """What nova is told."""
    driver.create_export(CONTEXT, of, {})
    told = driver.initialize_connection(of, {"host": "here"})
    assert told["driver_volume_type"] == "local" and told["data"]["discard"] is True
    return str(told["data"]["device_path"])


def write(place: str, data: bytes, *where: int) -> None:
    descriptor = os.open(place, os.O_RDWR)
    for at in where or (0,):
        os.pwrite(descriptor, data, at)
    os.fsync(descriptor)
    os.close(descriptor)


def read(place: str, length: int, at: int = 0) -> bytes:
    with open(place, "rb") as file:
        file.seek(at)
        return file.read(length)


def size_of(place: str) -> int:
    with open(place, "rb") as file:
        return file.seek(0, os.SEEK_END)


def volumes_live(driver: Any) -> None:
    one = volume()
    driver.create_volume(one)
    place = path(driver, one)
    write(place, b"one")
    driver.extend_volume(one, 2)
    one["size"] = 2
    assert size_of(place) == 2 << 30 and read(place, 3) == b"one"

    of = snapshot(one)
    driver.create_snapshot(of)
    write(place, b"two")
    copy = volume(2)
    driver.create_volume_from_snapshot(copy, of)
    assert read(path(driver, copy), 3) == b"one"
    driver.delete_snapshot(of)
    driver.delete_volume(copy)
    clone = volume(2)
    driver.create_cloned_volume(clone, one)
    assert read(path(driver, clone), 3) == b"two"
    write(path(driver, clone), b"six")
    assert read(place, 3) == b"two"

    uploaded: list[bytes] = []

    def upload(_c: Any, _s: Any, _m: Any, source: str, _v: Any, **_more: Any) -> None:
        write(place, b"new")
        uploaded.append(read(source, 3))

    with mock.patch.object(volume_utils, "upload_volume", upload):
        driver.copy_volume_to_image(CONTEXT, one, None, {})
    assert uploaded == [b"two"]
    # what comes of a migration gets the volume's own name
    moved = volume(2)
    update = driver.update_migrated_volume(CONTEXT, moved, clone, "available")
    assert update == {"_name_id": None, "provider_location": None}
    assert read(path(driver, moved), 3) == b"six"
    for each in (one, moved):
        driver.remove_export(CONTEXT, each)
        driver.delete_volume(each)
        driver.delete_volume(each)
    assert [lv["name"] for lv in driver.vg.get_volumes()] == [f"{GROUP}-pool"]
    try:
        driver.initialize_connection(volume(), {"host": "elsewhere"})
    except exception.VolumeBackendAPIException as problem:
        assert "elsewhere has no way" in str(problem)
    else:
        raise AssertionError("another machine was given a path of this one")


def the_next_tenant_reads_zeros(driver: Any) -> None:
    """(That this would see another outcome: `volume_group_trials.the_next_tenant_reads_zeros`.)"""
    old, new = volume(), volume()
    driver.create_volume(old)
    write(path(driver, old), MARK * (MARKED // len(MARK)))
    driver.delete_volume(old)
    driver.create_volume(new)
    place = path(driver, new)
    write(place, bytes(512), *range(CHUNK // 2, MARKED, CHUNK))
    assert not read(place, MARKED).strip(b"\0")
    driver.delete_volume(new)


def no_more_is_given_out_than_there_is(driver: Any) -> None:
    one, two = volume(2), volume(1)
    driver.create_volume(one)
    driver.create_volume(two)
    (pool,) = driver.get_volume_stats(refresh=True)["pools"]
    assert pool["total_capacity_gb"] == pool["provisioned_capacity_gb"] == 3.0, pool
    assert pool["free_capacity_gb"] > 2.9, pool
    assert not has_room(pool)
    driver.delete_volume(two)
    (pool,) = driver.get_volume_stats(refresh=True)["pools"]
    assert has_room(pool)
    driver.delete_volume(one)


def has_room(pool: dict[str, Any]) -> bool:
    """Whether the scheduler would have one of 1 GiB made there."""
    ratio = float(pool["max_over_subscription_ratio"])  # as it does
    host = mock.Mock(**pool | {"max_over_subscription_ratio": ratio}, host="here@lvm#lvm")
    host.capabilities = pool
    asks = capacity_filter.CapacityFilter()
    return bool(asks.backend_passes(host, {"size": 1, "vol_exists_on": None}))


def what_an_upload_has_left_goes(driver: Any) -> None:
    one = volume()
    driver.create_volume(one)
    driver.vg.create_lv_snapshot(f"upload-{uuid.uuid4()}", one.name, "thin")
    make_driver()
    names = {lv["name"] for lv in driver.vg.get_volumes()}
    assert names == {one.name, f"{GROUP}-pool"}, names
    driver.delete_volume(one)


def a_kept_volume_has_its_data(driver: Any) -> None:
    one = Thing(
        id=KEPT,
        name=f"volume-{KEPT}",
        size=1,
        volume_attachment=[],
        multiattach=False,
        encryption_key_id=None,
    )
    driver.ensure_export(CONTEXT, one)
    assert read(path(driver, one), 4) == b"kept"


def main(*names: str) -> None:
    driver = make_driver()
    for name in names:
        trial: Callable[[Any], None] = globals()[name]
        try:
            trial(driver)
        except Exception:  # noqa: BLE001 -- told, whatever it is
            print("TRIAL " + json.dumps({"failed": name, "why": traceback.format_exc()[-3000:]}))
        else:
            print("TRIAL " + json.dumps({"well": name}))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
