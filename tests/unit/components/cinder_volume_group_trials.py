"""Trials of the volume group's driver without device-mapper (see test_cinder_volume_group.py).

``python cinder_volume_group_trials.py NAME``. LVM is not run: it is told what it would say. What
upstream has run as root is written to the output, a command a line, for the test to look at.
"""
# ruff: noqa: E402 -- cinder must be told to use native threads before anything else of it

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
os.environ["EVENTLET_THREADPOOL_SIZE"] = "0"
from cinder import monkey_patch

monkey_patch.patch()

from cinder import context, exception, objects, utils
from cinder.volume import configuration, volume_utils
from oslo_concurrency import processutils
from oslo_config import cfg

from onestack.components.cinder.inside import volume_group

CONTEXT = context.RequestContext(user_id="user", project_id="project", is_admin=False)
GROUP = "cinder-volumes"


class Thing(dict[str, Any]):
    """A volume or snapshot, as much as drivers ask of one."""

    __getattr__ = dict.get


class Lvm:
    """What is asked of it, and what it would say of a group with these volumes."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.size = "20.00"
        self.volumes = {f"{GROUP}-pool": "20.00"}

    def run(self, *words: str, **more: Any) -> tuple[str, str]:
        rest = list(words[2:] if words[0] == "env" and "=" in words[1] else words)
        if more.get("run_as_root"):
            self.asked.append(list(words))
        self._change(rest)
        return self._said(rest), ""

    def _change(self, words: list[str]) -> None:
        match words:
            case ["lvcreate", *_]:
                name = words[words.index("-n" if "-n" in words else "--name") + 1]
                self.volumes[name] = "1.00"
            case ["lvremove", *_, what]:
                del self.volumes[what.partition("/")[2]]
            case ["lvrename", _, old, new]:
                self.volumes[new] = self.volumes.pop(old)

    def _said(self, words: list[str]) -> str:
        if words[0] == "lvs" and "size,data_percent" not in words:
            name = words[-1].partition("/")[2]
            shown = {n: s for n, s in self.volumes.items() if name in ("", n)}
            return "".join(f" {GROUP} {n} {s}\n" for n, s in shown.items())
        return {
            "lvm": "  LVM version:     2.03.16(2) (2022-05-18)\n",
            "vgs": GROUP if "name" in words else f"{GROUP}:{self.size}:0:1:UUID",
            "pvs": f"{GROUP}|/dev/loop0|{self.size}|0",
            "lvs": "20.00:5.00",
            "lvdisplay": "  Vwi-a-tz--",
        }.get(words[0], "")


def make_driver(lvm: Lvm, attach: str = "attach what was added") -> Any:
    scratch = tempfile.mkdtemp(prefix="trial-")
    file = Path(scratch, "cinder.conf")
    file.write_text(
        f"[DEFAULT]\nstate_path={scratch}\nhost=here\nrootwrap_config=/rootwrap.conf\n"
        f"[lvm]\nvolume_backend_name=lvm\nvolume_group={GROUP}\nlvm_type=thin\n"
        f"lvm_conf_file=None\nmax_over_subscription_ratio=1.0\nvolumegroup_attach={attach}\n"
    )
    cfg.CONF(["--config-file", str(file)], project="cinder")
    for place in (processutils, utils):
        mock.patch.object(place, "execute", lvm.run).start()
    own = configuration.Configuration(volume_group.OPTIONS, config_group="lvm")
    made = volume_group.VolumeGroupDriver(configuration=own, host="here@lvm", execute=lvm.run)
    made.do_setup(None)
    made.check_for_setup_error()
    made.set_initialized()
    return made


def volume(size: int = 1) -> Any:
    identity = str(uuid.uuid4())
    return Thing(
        id=identity, name=f"volume-{identity}", size=size, volume_attachment=[], multiattach=False
    )


def commands() -> None:
    """A volume's life: all of it that is run as root goes to the output."""
    lvm = Lvm()
    driver = make_driver(lvm)
    one, copy, clone, moved = (volume() for _ in range(4))
    identity = str(uuid.uuid4())
    snapshot = Thing(
        id=identity, name=f"snapshot-{identity}", volume_name=one.name, volume_size=1, volume=one
    )
    driver.create_volume(one)
    driver.ensure_export(CONTEXT, one)
    driver.extend_volume(one, 2)
    driver.create_snapshot(snapshot)
    driver.create_volume_from_snapshot(copy, snapshot)
    driver.create_cloned_volume(clone, one)
    driver.get_volume_stats(refresh=True)
    update = driver.update_migrated_volume(CONTEXT, moved, clone, "available")
    assert update == {"_name_id": None, "provider_location": None}, update
    with mock.patch.object(volume_utils, "upload_volume"):
        driver.copy_volume_to_image(CONTEXT, one, None, {})
    driver.get_manageable_volumes([], None, 10, 0, ["size"], ["asc"])
    driver.delete_snapshot(snapshot)
    for each in (copy, moved, one):
        driver.remove_export(CONTEXT, each)
        driver.delete_volume(each)
    assert list(lvm.volumes) == [f"{GROUP}-pool"]
    print(json.dumps([words for words in lvm.asked if words[0] != "attach"]))


def connections_are_local_devices() -> None:
    driver = make_driver(Lvm())
    one = Thing(
        id="1",
        name="volume-1-2",
        size=1,
        volume_attachment=[],
        multiattach=False,
        encryption_key_id=None,
    )
    assert driver.create_export(CONTEXT, one, {}) == {"provider_location": "", "provider_auth": ""}
    told = driver.initialize_connection(one, {"host": "here"})
    assert told == {
        "driver_volume_type": "local",
        "data": {"device_path": "/dev/mapper/cinder--volumes-volume--1--2", "discard": True},
    }
    try:
        driver.initialize_connection(one, {"host": "elsewhere"})
    except exception.VolumeBackendAPIException as problem:
        assert "elsewhere has no way to it" in str(problem)
    else:
        raise AssertionError("another machine was given a path of this one")
    driver.terminate_connection(one, {"host": "here"})
    # by os-brick, as the backup service does it
    connector = volume_utils.brick_get_connector("local")
    assert connector.connect_volume(told["data"])["path"] == told["data"]["device_path"]


def what_is_added_is_taken_in_once() -> None:
    lvm = Lvm()
    driver = make_driver(lvm)
    driver.get_volume_stats(refresh=True)
    lvm.asked.clear()
    lvm.size = "25.00"
    driver.get_volume_stats(refresh=True)
    assert lvm.asked.count(["attach", "what", "was", "added"]) == 1
    driver.get_volume_stats(refresh=True)
    assert lvm.asked.count(["attach", "what", "was", "added"]) == 1


def no_more_is_given_out_than_there_is() -> None:
    lvm = Lvm()
    lvm.volumes["volume-1"] = "20.00"
    (pool,) = make_driver(lvm).get_volume_stats(refresh=True)["pools"]
    assert (pool["total_capacity_gb"], pool["provisioned_capacity_gb"]) == (20.0, 20.0), pool
    assert pool["max_over_subscription_ratio"] == "1.0" and pool["thin_provisioning_support"]


def nothing_is_encrypted() -> None:
    lvm = Lvm()
    driver = make_driver(lvm)
    one = volume() | {"encryption_key_id": "key", "project_id": "project", "obj_context": CONTEXT}
    with mock.patch("onestack.components.cinder.inside.messages.say") as said:
        try:
            driver.create_volume(Thing(one))
        except exception.VolumeBackendAPIException as problem:
            assert "CONFIG_CINDER_BACKEND=filepool" in str(problem)
        else:
            raise AssertionError("it was made, and is not encrypted")
    assert said.call_args.args[3].number == "916"
    assert list(lvm.volumes) == [f"{GROUP}-pool"]
    assert driver.retype(CONTEXT, one, None, {"encryption": {}}, None) is True
    assert driver.retype(CONTEXT, one, None, {"encryption": {"cipher": (1, 2)}}, None) is False


def what_an_upload_has_left_goes() -> None:
    lvm = Lvm()
    lvm.volumes |= {"upload-1": "1.00", "volume-1": "1.00"}
    make_driver(lvm)
    assert list(lvm.volumes) == [f"{GROUP}-pool", "volume-1"]


if __name__ == "__main__":
    objects.register_all()
    globals()[sys.argv[1]]()
